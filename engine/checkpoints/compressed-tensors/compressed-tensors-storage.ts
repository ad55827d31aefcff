import type { LinearStorage } from '../linear-storage';
import { INPUT_SCALE_PARTS, inputScalePart } from './input-scale';
import { type LinearLayout, linearLayout, storesOneScale } from './layout';
import { inputArgs } from './quantization-args';
import { readConfig } from './read-config';
import { VARIANTS } from './variants';

const variantOf = ({ layout }: { readonly layout: string }) => VARIANTS[layout as LinearLayout];

/** compressed-tensors of every producer. */
export const compressedTensorsStorage = {
  method: 'compressed-tensors',
  grids: ['affine', 'minifloat'],
  parts: [
    'weight_packed',
    'weight_scale',
    'weight_zero_point',
    'weight_shape',
    'weight_g_idx',
    'weight_global_scale',
    ...INPUT_SCALE_PARTS,
    'weight',
  ],
  // Dense modules have a weight too.
  markers: ['weight_scale'],

  describe: readConfig,

  settingsFor({ bits, groupSize, symmetric, floatType, perTensor, activations }) {
    const inputs = activations && activations !== 'none' && { activations };
    const form = { bits, groupSize, symmetric, ...(floatType && { floatType }), ...inputs };
    const layout = linearLayout(form);
    return { ...form, ...(perTensor && storesOneScale(layout) && { perTensor }), layout };
  },

  inputs(settings) {
    const { activations } = settings;
    if (!activations) return undefined;
    const groupSize = inputArgs(settings)?.group_size ?? -1;
    const scale = inputScalePart(settings);
    const type = activations === 'fp8-static' ? 'fp8' : activations;
    return { type, groupSize, ...(scale && { scale }) };
  },

  shape: (settings, shapeOf) => variantOf(settings).shape(settings, shapeOf),
  tensors: (settings, shape) => variantOf(settings).tensors(settings, shape),
  read: (module, source) => variantOf(source.settings).read(module, source),

  async readRaw(module, stored, description) {
    const settings = description.settingsOf(module);
    if (!settings) throw new Error(`stored quantized, but ${description.describedBy} that it is not`);
    return variantOf(settings).readRaw(module, stored, description);
  },
} satisfies LinearStorage;
