import { join } from 'node:path';
import { debianPrograms } from './debian-programs';

/** Prometheus' own programs, of Debian's package. */
export interface PrometheusPrograms {
  readonly prometheus: string;
  readonly promtool: string;
}

/** In the directory QUANTLOOM_PROMETHEUS, or unpacked from Debian's package. */
export async function findPrometheus(): Promise<PrometheusPrograms> {
  const directory =
    process.env.QUANTLOOM_PROMETHEUS ||
    (await debianPrograms('prometheus').catch((error: Error) => {
      throw new Error(
        `The tests of metrics need prometheus and promtool. ${error.message} Set QUANTLOOM_PROMETHEUS to a directory that has them.`,
      );
    }));
  return { prometheus: join(directory, 'prometheus'), promtool: join(directory, 'promtool') };
}
