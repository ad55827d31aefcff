import { type Client, type ScheduleHandle, ScheduleNotFoundError } from '@temporalio/client';
import { QuantloomError } from '../engine/spec';

/** Calls the server about a schedule; what is wrong is said in our words. @throws QuantloomError JobNotFound, WrongUse. */
export async function callSchedule<T>(
  client: Client,
  name: string,
  call: (handle: ScheduleHandle) => Promise<T>,
): Promise<T> {
  try {
    return await call(client.schedule.getHandle(name));
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) {
      throw new QuantloomError(
        'JobNotFound',
        `There is no schedule "${name}". \`quantloom schedule list\` prints those there are.`,
        { cause: error },
      );
    }
    // So the SDK calls a cron expression or a time zone that the server cannot read.
    if (error instanceof TypeError) {
      throw new QuantloomError('WrongUse', `The server refuses the schedule "${name}": ${error.message}`, {
        cause: error,
      });
    }
    throw error;
  }
}
