import { InferenceSession, Tensor } from 'onnxruntime-node';
import { GraphBuilder } from '../graphs/graph-builder';
import { QuantloomError } from '../spec';
import { CPU, type Device, deviceNamed } from './device';
import type { DeviceName, DeviceWish } from './device-name';

export interface FoundDevice {
  readonly device: Device;
  /** Devices that were preferred and are not there, with onnxruntime's reason; none where a device was asked for by name. */
  readonly passedOver: Readonly<Record<string, string>>;
}

/** For `auto`. */
const PREFERENCE: readonly DeviceName[] = ['cuda:0', 'webgpu'];

/** What it takes to have a device of a kind, and where this package's build of onnxruntime has it. */
const REQUIREMENTS = {
  cuda:
    "onnxruntime's CUDA libraries (`ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js`; Linux x64 only), " +
    'CUDA 12 and cuDNN 9 where the dynamic linker finds them, and an NVIDIA driver; in a container, the GPU passed into it',
  webgpu:
    'a driver of the graphics system (Linux x64: Vulkan, that is libvulkan.so.1 and a driver behind it; macOS: Metal; Windows: Direct3D 12)',
};

/**
 * The device that is wished for, tried out with a small graph. `auto` takes the first that works of cuda:0, webgpu, cpu.
 *
 * @throws QuantloomError DeviceUnavailable: which device, why, which there are, what to install.
 */
export async function findDevice(wish: DeviceWish): Promise<FoundDevice> {
  if (wish !== 'auto') {
    const why = await tryOut(wish);
    if (why === null) return { device: deviceNamed(wish), passedOver: {} };
    throw await unavailable(wish, why);
  }
  const passedOver: Record<string, string> = {};
  for (const name of PREFERENCE) {
    const why = await tryOut(name);
    if (why === null) return { device: deviceNamed(name), passedOver };
    passedOver[name] = why;
  }
  return { device: CPU, passedOver };
}

async function unavailable(wish: DeviceName, why: string): Promise<QuantloomError> {
  const others = [...PREFERENCE].filter((name) => name !== wish);
  const there: DeviceName[] = ['cpu'];
  for (const name of others) if ((await tryOut(name)) === null) there.unshift(name);
  const needs = wish === 'webgpu' ? REQUIREMENTS.webgpu : REQUIREMENTS.cuda;
  return new QuantloomError(
    'DeviceUnavailable',
    `Device ${wish} cannot be used: ${why}. There ${there.length === 1 ? 'is' : 'are'} ${there.join(', ')}. ${wish} needs ${needs}. ` +
      'Or choose another with --device (QUANTLOOM_DEVICE); auto takes the best that there is.',
    { details: { device: wish, there } },
  );
}

/** computes on the device. @returns null, or why it cannot. */
async function tryOut(name: DeviceName): Promise<string | null> {
  if (name === 'cpu') return null;
  try {
    const { executionProviders } = deviceNamed(name);
    const options = { executionProviders: [...executionProviders], logSeverityLevel: 4 } as const;
    const session = await InferenceSession.create(doubling(), options);
    try {
      const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(1, 2, 3, 4), [2, 2]) });
      return String(y?.data) === '2,4,6,8' ? null : `it computes wrongly: ${y?.data}`;
    } finally {
      await session.release();
    }
  } catch (error) {
    return briefly(error);
  }
}

/** x + x, `[2, 2]`. */
function doubling(): Uint8Array {
  const graph = new GraphBuilder('doubling');
  const x = graph.input('x', [2, 2]);
  const sum = graph.node('Add', [x, x]);
  graph.output('y', sum, [2, 2]);
  return graph.build();
}

/** onnxruntime's reason, without the place in its source and the condition that stands there. */
function briefly(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message
    .replace(/^\/?[\w./-]+\.(cc|h):\d+ .* was false\. /, '')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\.$/, '')
    .slice(0, 400);
}
