import type { Recipe } from '../spec';
import { gptq } from './gptq';
import type { QuantizationMethod } from './row-block';
import { rtn } from './rtn';

/** Every quantization method. */
export const METHODS: Readonly<Record<Recipe['method'], QuantizationMethod>> = { rtn, gptq };
