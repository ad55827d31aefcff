import { QuantloomError } from '../../spec';
import type { CheckpointContext } from '../format';
import { keptModules } from '../model-config';

/** torch's names, as config.json has them. */
const COMPUTE_DTYPES = ['float32', 'float16', 'bfloat16'];

/**
 * The quantization_config as transformers writes it (`BitsAndBytesConfig.to_dict`), but for `llm_int8_threshold`: transformers takes 6.0,
 * its default, for that and refuses the integer 6, which is what JSON.stringify writes.
 *
 * @throws QuantloomError InvalidSpecification when no linear is quantized.
 */
export function quantizationConfig({ sourceConfig, linears, layout }: CheckpointContext): Record<string, unknown> {
  const recipe = linears.find((linear) => linear.recipe)?.recipe;
  if (!recipe) {
    throw new QuantloomError(
      'InvalidSpecification',
      'Every linear is kept in 16 bit, so there is nothing to write for bitsandbytes. Remove an override with skip.',
    );
  }
  const is4bit = layout !== 'int8';
  const dtype = sourceConfig.dtype ?? sourceConfig.torch_dtype;
  return {
    quant_method: 'bitsandbytes',
    _load_in_8bit: !is4bit,
    _load_in_4bit: is4bit,
    llm_int8_skip_modules: keptModules({ sourceConfig, linears }),
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    bnb_4bit_quant_type: is4bit ? layout : 'fp4',
    bnb_4bit_use_double_quant: is4bit && (recipe.doubleQuant ?? true),
    bnb_4bit_compute_dtype: is4bit && COMPUTE_DTYPES.includes(dtype as string) ? dtype : 'float32',
    bnb_4bit_quant_storage: 'uint8',
    load_in_4bit: is4bit,
    load_in_8bit: !is4bit,
  };
}
