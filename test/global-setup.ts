import { defaultHome } from '../cli/settings';
import { findTemporalBinary } from '../cli/temporal-binary';

/** Fetches the Temporal CLI once, to where the program itself keeps it; every test file finds it in QUANTLOOM_TEMPORAL_CLI. */
export default async function globalSetup(): Promise<void> {
  const home = process.env.QUANTLOOM_HOME || defaultHome();
  try {
    process.env.QUANTLOOM_TEMPORAL_CLI = await findTemporalBinary({
      home,
      environment: process.env,
      note: (line) => console.error(line),
    });
  } catch (error) {
    // Unit tests need no server; the tests that do fail with this message.
    console.error((error as Error).message);
  }
}
