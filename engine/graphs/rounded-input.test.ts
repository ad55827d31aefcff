import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { tensorsOfFile } from '../../test/support/tensors-of-file';
import { GraphBuilder } from './graph-builder';
import { roundedInput } from './rounded-input';
import { type Feeds, floatFeed } from './stage-feeds';

/** Rounded by compressed-tensors 0.19 (test/oracles/compressed-tensors-floats.py). */
const FIXTURE = join(__dirname, '..', 'checkpoints', 'compressed-tensors', 'fixtures', 'floats', 'inputs.safetensors');

describe('the input of a linear', () => {
  it.each([
    ['int8', { type: 'int8', groupSize: -1 }],
    ['fp8', { type: 'fp8', groupSize: -1 }],
    ['fp8-groups', { type: 'fp8', groupSize: 128 }],
    ['mxfp4', { type: 'mxfp4', groupSize: 32 }],
    ['nvfp4', { type: 'nvfp4', groupSize: 16, scale: 'input_global_scale' }],
    ['fp8-static', { type: 'fp8', groupSize: -1, scale: 'input_scale' }],
  ] as const)('rounded to %s is what compressed-tensors rounds it to', async (name, rounding) => {
    const { tensor, floats } = await tensorsOfFile(FIXTURE);
    const input = rounding.type.endsWith('4') ? 'x4' : 'x';
    const [tokens, columns] = tensor(input).shape as [number, number];
    const graph = new GraphBuilder('rounded');
    const x = graph.input('x', ['tokens', columns]);
    const scale = 'scale' in rounding ? graph.input('scale', [1]) : null;
    graph.output('y', roundedInput(graph, x, { ...rounding, columns, scale }), ['tokens', columns]);
    const session = await InferenceSession.create(graph.build());
    const feeds: Feeds = { x: floatFeed(floats(input), [tokens, columns]) };
    if (scale !== null) feeds.scale = floatFeed(floats(`${name}-scale`), [1]);
    const { y } = await session.run(feeds);
    expect(y?.data).toEqual(floats(name));
  });
});
