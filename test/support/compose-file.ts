import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { findGoProgram } from './go-program';

/** A service after anchors, variables and defaults are filled in. */
export interface ComposeService {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string; readonly target: string };
  readonly command?: readonly string[] | null;
  readonly entrypoint?: readonly string[] | null;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly { type: string; source: string; target: string; read_only?: boolean }[];
  readonly tmpfs?: readonly string[];
  readonly ports?: readonly { host_ip?: string; target: number; published: string }[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly stop_grace_period?: string;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly deploy?: unknown;
}

export interface ComposeFile {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** Reads files as docker compose does, with its own library. @throws Error with what it says of a file that is not valid. */
export async function composeReader(): Promise<(...paths: string[]) => ComposeFile> {
  const program = await findGoProgram({
    ...{ name: 'compose-spec', pinnedIn: 'deploy-tools', variable: 'QUANTLOOM_COMPOSE_SPEC' },
    ...{ module: 'github.com/compose-spec/compose-go/v2', package: 'github.com/compose-spec/compose-go/v2/cmd' },
  });
  return (...paths) => {
    const { status, stdout, stderr } = spawnSync(program, ['-format', 'json', ...paths], {
      encoding: 'utf8',
      cwd: dirname(paths[0] as string),
      // No variables but the defaults of the files.
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
    });
    if (status !== 0) throw new Error(stderr || stdout);
    return JSON.parse(stdout) as ComposeFile;
  };
}
