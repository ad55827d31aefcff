import type { Client } from '@temporalio/client';

const RETENTION_DAYS = 30;

/** The dev server forgets ended jobs after a day; keep them for a month. */
export async function extendHistoryRetention(client: Client): Promise<void> {
  const seconds = RETENTION_DAYS * 86_400;
  const { namespace } = client.options;
  const described = await client.workflowService.describeNamespace({ namespace });
  if (Number(described.config?.workflowExecutionRetentionTtl?.seconds ?? 0) >= seconds) return;
  await client.workflowService.updateNamespace({
    namespace,
    config: { workflowExecutionRetentionTtl: { seconds: seconds as never } },
  });
}
