import type { NativeConnection } from '@temporalio/worker';
import { SEARCH_ATTRIBUTES } from '../engine/spec';
import { logLine } from './worker-log';

/** Numbers of temporal.api.enums.v1.IndexedValueType. */
const INDEXED_VALUE_TYPES = { Keyword: 2, Int: 3, Double: 4, Bool: 5 } as const;

/**
 * Registers the search attributes that the namespace lacks: a workflow that sets an unknown one would be retried for ever.
 * Without the right to register them, says which the operator has to add.
 */
export async function ensureSearchAttributes(connection: NativeConnection, namespace: string): Promise<void> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.entries(SEARCH_ATTRIBUTES).filter(([name]) => !(name in (customAttributes ?? {})));
  if (missing.length === 0) return;
  const searchAttributes = Object.fromEntries(missing.map(([name, type]) => [name, INDEXED_VALUE_TYPES[type]]));
  try {
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
  } catch (error) {
    const wanted = missing.map(([name, type]) => `${name}=${type}`).join(', ');
    logLine('search-attributes-missing', { namespace, wanted, error: String(error) });
    throw error;
  }
}
