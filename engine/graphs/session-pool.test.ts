import type { InferenceSession } from 'onnxruntime-node';
import { GraphBuilder } from './graph-builder';
import { MOST_SESSIONS, releaseSessions, sessionFor } from './session-pool';
import { floatFeed } from './stage-feeds';

/** x + n */
function sum(n: number): Promise<InferenceSession> {
  return sessionFor(`sum ${n}`, { threads: 1 }, () => {
    const graph = new GraphBuilder('sum');
    graph.output('y', graph.node('Add', [graph.input('x', [1]), graph.scalar(n)]), [1]);
    return graph.build();
  });
}

async function resultOf(session: InferenceSession): Promise<number> {
  const { y } = await session.run({ x: floatFeed(Float32Array.of(1), [1]) });
  return Number(y?.data[0]);
}

describe('sessions of a process', () => {
  afterEach(() => releaseSessions());

  it('are kept for the next one who asks for the graph', async () => {
    expect(await sum(3)).toBe(await sum(3));
    expect(await sum(3)).not.toBe(await sum(4));
  });

  it('are bounded: the one that was used longest ago is let go, and comes back when it is asked for', async () => {
    const [first, second] = [await sum(0), await sum(1)];
    for (let n = 2; n < MOST_SESSIONS; n++) await sum(n);
    expect(await sum(0)).toBe(first);
    await sum(MOST_SESSIONS);
    expect(await sum(0)).toBe(first);
    const again = await sum(1);
    expect(again).not.toBe(second);
    expect(await resultOf(again)).toBe(2);
    await expect(resultOf(second)).rejects.toThrow(/dispose|release/i);
  });

  it('come back after all of them were let go', async () => {
    const before = await sum(5);
    await releaseSessions();
    const after = await sum(5);
    expect(after).not.toBe(before);
    expect(await resultOf(after)).toBe(6);
  });
});
