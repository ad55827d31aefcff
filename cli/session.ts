import type { Client } from '@temporalio/client';
import type { QueueName } from '../engine/spec';
import type { Invocation } from './command';
import { type EmbeddedStack, startEmbeddedStack } from './embedded-stack';
import { extendHistoryRetention } from './history-retention';
import { findTemporalBinary } from './temporal-binary';
import { connectClient, externalServer, type ServerConfiguration } from './temporal-client';

/** A connection to the server that jobs run on, and what was started for it. */
export interface Session {
  readonly client: Client;
  readonly address: string;
  readonly namespace: string;
  /** Null: a server that the user's Temporal settings name. */
  readonly stack: EmbeddedStack | null;
  /** Whether jobs go on when this command ends. */
  readonly outlives: boolean;
  /** Page of a workflow in Temporal's UI; null where its address is not known. */
  uiPage(workflowId: string, runId?: string): string | null;
  close(): Promise<void>;
}

export interface SessionOptions {
  readonly purpose: string;
  /** Workers for an embedded stack of our own. */
  readonly workers: Readonly<Record<QueueName, number>>;
  /** Use the embedded stack whatever the Temporal settings say. */
  readonly embedded?: boolean;
}

/** Enough for queries and updates of a job. */
export const CONTROL_ONLY: Readonly<Record<QueueName, number>> = { control: 1, cpu: 0, gpu: 0 };

/** @throws QuantloomError ServerUnavailable. */
export async function openSession(invocation: Invocation, options: SessionOptions): Promise<Session> {
  const { settings, environment, output } = invocation;
  const external = options.embedded ? null : externalServer(environment);
  if (external) {
    const client = await connectClient(external);
    return session(client, external, null);
  }
  const stack = await startEmbeddedStack({
    ...settings,
    workers: options.workers,
    purpose: options.purpose,
    environment,
    temporalBinary: () => findTemporalBinary({ home: settings.home, environment, note: (line) => output.note(line) }),
    note: (line) => output.note(line),
  });
  try {
    const server = { connection: { address: stack.address }, address: stack.address, namespace: 'default' };
    const client = await connectClient(server);
    if (!stack.host) await extendHistoryRetention(client);
    return session(client, server, stack);
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

function session(client: Client, server: ServerConfiguration, stack: EmbeddedStack | null): Session {
  return {
    client,
    address: server.address,
    namespace: server.namespace,
    stack,
    get outlives() {
      return stack === null || stack.host?.purpose === 'up';
    },
    uiPage(workflowId, runId) {
      if (!stack) return null;
      const page = `${stack.uiAddress}/namespaces/${server.namespace}/workflows/${encodeURIComponent(workflowId)}`;
      return runId ? `${page}/${runId}/history` : page;
    },
    async close() {
      // The connection is left to the end of the process: the SDK's pending retries throw when it is closed under them.
      await stack?.stop();
    },
  };
}
