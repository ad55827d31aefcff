import { awq } from './awq';
import { gptq } from './gptq';
import type { RowMethod } from './row-block';
import { rtn } from './rtn';

/** The methods that solve rows for themselves. */
export const ROW_METHODS = { rtn, gptq, awq } as const satisfies Record<string, RowMethod>;
export type RowMethodName = keyof typeof ROW_METHODS;
