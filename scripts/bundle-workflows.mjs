// Bundles the workflows once at build time: every control worker then starts in milliseconds, and all run the same code. Workers that send
// traces have a bundle of their own, so that the others have nothing of it.
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const compiled = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const interceptors = compiled('workflows/traced/interceptors.js');

for (const [name, workflowInterceptorModules] of [
  ['workflow-bundle-traced.js', [interceptors]],
  ['workflow-bundle.js', []],
]) {
  const { code } = await bundleWorkflowCode({
    workflowsPath: compiled('workflows/index.js'),
    workflowInterceptorModules,
    logger: new DefaultLogger('WARN'),
  });
  await writeFile(compiled(name), code);
}
