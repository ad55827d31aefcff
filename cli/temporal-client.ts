import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { QuantloomError } from '../engine/spec';
import { tracesOf } from '../workers/traces';

/** A server that was restarted is found again within a second; the default would wait up to two minutes. */
const RECONNECT = { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 1000 };
const CONNECT_TIMEOUT_MS = 10_000;

export interface ServerConfiguration {
  readonly connection: ConnectionOptions;
  readonly address: string;
  readonly namespace: string;
}

/**
 * The server that the user's Temporal settings name (TEMPORAL_ADDRESS, TEMPORAL_PROFILE, temporal.toml ...), or null when none of them
 * does: then the embedded one is used.
 */
export function externalServer(environment: Readonly<Record<string, string | undefined>>): ServerConfiguration | null {
  const overrideEnvVars = Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const { connectionOptions, namespace } = loadClientConnectConfig({ overrideEnvVars });
  if (!connectionOptions.address) return null;
  return {
    connection: connectionOptions as ConnectionOptions,
    address: connectionOptions.address,
    namespace: namespace ?? 'default',
  };
}

/** @throws QuantloomError ServerUnavailable naming the address. */
export async function connectClient(server: ServerConfiguration): Promise<Client> {
  try {
    const connection = await Connection.connect({
      ...server.connection,
      connectTimeout: CONNECT_TIMEOUT_MS,
      channelArgs: { ...RECONNECT, ...server.connection.channelArgs },
    });
    const traces = tracesOf('command-line', process.env);
    return new Client({
      ...{ connection, namespace: server.namespace },
      ...(traces && { interceptors: { workflow: [traces.client] } }),
    });
  } catch (error) {
    throw new QuantloomError(
      'ServerUnavailable',
      `The Temporal server at ${server.address} does not answer: ${(error as Error).message}. Check TEMPORAL_ADDRESS and the TEMPORAL_TLS settings, or unset them to use the embedded server.`,
      { retryable: true, cause: error },
    );
  }
}

/** Whether a Temporal server answers at the address now, with its default namespace in place. */
export async function isServing(address: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: 1_000 });
    try {
      await connection.withDeadline(Date.now() + 2_000, () =>
        connection.workflowService.describeNamespace({ namespace: 'default' }),
      );
      return true;
    } finally {
      await connection.close();
    }
  } catch {
    return false;
  }
}
