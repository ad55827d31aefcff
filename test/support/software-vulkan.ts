import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompressSync } from 'node:zlib';
import { defaultHome } from '../../cli/settings';
import { withLock } from '../../engine/store';

const run = promisify(execFile);

/** Has SwiftShader, Google's Vulkan driver that computes on the CPU, and a Vulkan loader; of it nothing else is kept. */
const PACKAGE = '@sparticuz/chromium@147.0.0';
const SHA512 = '4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ==';

/** Whether onnxruntime has the device `webgpu` where SwiftShader runs. */
export const HAS_WEBGPU = process.platform === 'linux' && process.arch === 'x64';

/** Fetching it, once. */
export const FIRST_FETCH_MS = 300_000;

/** Environment of a process in which the device `webgpu` is there, GPU or not. */
export async function softwareVulkan(): Promise<Record<string, string>> {
  const tools = join(defaultHome(), 'bin');
  const kept = join(tools, 'swiftshader-147');
  await mkdir(tools, { recursive: true });
  await withLock(`${kept}.lock`, async () => {
    if (!existsSync(kept)) await fetchTo(kept);
  });
  const driver = join(kept, 'driver.json');
  return { LD_LIBRARY_PATH: kept, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver };
}

async function fetchTo(kept: string): Promise<void> {
  const fetched = `${kept}.${process.pid}`;
  try {
    await mkdir(fetched);
    const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', fetched, PACKAGE]);
    const archive = join(fetched, stdout.trim());
    const digest = createHash('sha512')
      .update(await readFile(archive))
      .digest('base64');
    if (digest !== SHA512) throw new Error(`${PACKAGE} has SHA-512 ${digest}, not ${SHA512}`);
    await run('tar', ['xzf', archive, '-C', fetched, 'package/bin/swiftshader.tar.br']);
    const inner = join(fetched, 'swiftshader.tar');
    await writeFile(inner, brotliDecompressSync(await readFile(join(fetched, 'package/bin/swiftshader.tar.br'))));
    const only = join(fetched, 'kept');
    await mkdir(only);
    await run('tar', ['xf', inner, '-C', only, '--no-same-owner', 'libvk_swiftshader.so', 'libvulkan.so.1']);
    const ICD = { library_path: join(kept, 'libvk_swiftshader.so'), api_version: '1.0.5' };
    await writeFile(join(only, 'driver.json'), JSON.stringify({ file_format_version: '1.0.0', ICD }));
    await rename(only, kept);
  } catch (error) {
    const { message, stderr = '' } = error as Error & { stderr?: string };
    throw new Error(
      `The tests of devices need SwiftShader, and ${PACKAGE} could not be fetched: ${(stderr || message).trim().slice(-500)}`,
    );
  } finally {
    await rm(fetched, { recursive: true, force: true });
  }
}
