import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ToolName } from './options';
import type { Outcome, Readers, Task, Tool } from './tool';

const PEERS_DIRECTORY = join(__dirname, '..', 'peers');

interface Peer {
  readonly title: string;
  /** As Python's package index calls it. */
  readonly package: string;
  readonly script: string;
  readonly readers: Readers;
}

const PEERS: Readonly<Record<Exclude<ToolName, 'quantloom' | 'direct'>, Peer>> = {
  gptqmodel: {
    title: 'GPTQModel',
    package: 'gptqmodel',
    script: 'quantize_gptqmodel.py',
    readers: { quantloom: true, owner: 'gptqmodel' },
  },
  llmcompressor: {
    title: 'llm-compressor',
    package: 'llmcompressor',
    script: 'quantize_llmcompressor.py',
    readers: { quantloom: false, owner: 'transformers' },
  },
  autoround: {
    title: 'auto-round',
    package: 'auto-round',
    script: 'quantize_autoround.py',
    readers: { quantloom: true, owner: 'gptqmodel' },
  },
};

/** The Python in which the peers are installed, and what it has. */
export interface PeersPython {
  readonly executable: string;
  /** By package; null: not installed. */
  readonly versions: Readonly<Record<string, string | null>>;
}

/** Libraries that decide about results and speed beside the peers themselves. */
const LIBRARIES = ['torch', 'transformers', 'optimum', 'compressed-tensors'];

/** @throws Error when the executable cannot be run. */
export async function inspectPeersPython(executable: string): Promise<PeersPython> {
  const names = [...Object.values(PEERS).map((peer) => peer.package), ...LIBRARIES];
  const { stdout } = await promisify(execFile)(executable, [join(PEERS_DIRECTORY, 'versions.py'), ...names]);
  return { executable, versions: JSON.parse(stdout) };
}

/** The tool, or why it is left out. */
export function peerTool(name: Exclude<ToolName, 'quantloom' | 'direct'>, python: PeersPython | null): Tool | string {
  const peer = PEERS[name];
  if (python === null) return `${peer.title} left out: QUANTLOOM_PEERS_PYTHON does not name a Python that has it`;
  const version = python.versions[peer.package];
  if (!version) return `${peer.title} left out: it is not installed in the Python that QUANTLOOM_PEERS_PYTHON names`;
  return {
    name,
    title: peer.title,
    version,
    readers: peer.readers,
    command: (task) => ({
      command: python.executable,
      args: [join(PEERS_DIRECTORY, peer.script), ...wordsOf(task)],
      environment: { ...peersEnvironment(task.workload.options.threads), TMPDIR: task.scratch },
      workingDirectory: task.scratch,
    }),
    outcome: (_task, _usage, stdout) => outcomeOf(stdout),
  };
}

/** For Python processes: on the CPU, offline, and without OpenMP threads that spin while they wait. */
export function peersEnvironment(threads: number): Record<string, string | undefined> {
  return {
    ...process.env,
    OMP_WAIT_POLICY: 'PASSIVE',
    GOMP_SPINCOUNT: '0',
    OMP_NUM_THREADS: String(threads),
    GPTQMODEL_CPU_WORKERS: String(threads),
    HF_HUB_OFFLINE: '1',
    TOKENIZERS_PARALLELISM: 'false',
    CUDA_VISIBLE_DEVICES: '',
    PYTHONDONTWRITEBYTECODE: '1',
  };
}

function wordsOf({ workload, width, output }: Task): string[] {
  const { options, directory, sequencesFile } = workload;
  const words = ['--model', directory, '--out', output, '--sequences', sequencesFile, '--bits', String(width.bits)];
  words.push('--group-size', String(options.groupSize), '--threads', String(options.threads));
  words.push('--iterations', String(options.iterations));
  if (!width.symmetric) words.push('--asymmetric');
  return words;
}

/** Its last line, see quantizing.py; libraries print what they like before. */
function outcomeOf(stdout: string): Outcome {
  const last = stdout.trim().split('\n').at(-1) ?? '';
  const { seconds, settings } = JSON.parse(last) as { seconds: Outcome['parts']; settings: Outcome['settings'] };
  return { settings, parts: { seconds } };
}
