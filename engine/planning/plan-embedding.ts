import { formatOf } from '../checkpoints';
import { embeddingBits, type ModelPlan, type QuantizationSpec, type Recipe, RecipeSchema } from '../spec';
import type { Findings } from './findings';

/** What a plan says of an embedding that is not kept as it is. Integers are rounded to nearest: no Hessian belongs to it. */
export function plannedEmbedding({
  embedding,
  recipe,
}: QuantizationSpec): Pick<ModelPlan, 'embedding' | 'embeddingRecipe'> {
  if (!embedding) return {};
  const bits = embeddingBits(embedding);
  return { embedding, ...(bits && { embeddingRecipe: toNearest(recipe, bits) }) };
}

function toNearest({ groupSize, symmetric, scales, zeros }: Recipe, bits: Recipe['bits']): Recipe {
  return RecipeSchema.parse({
    ...{ method: 'rtn', bits, groupSize, symmetric, scales, zeros },
    ...{ actOrder: 'none', refinements: 0 },
  });
}

/** Refuses formats that cannot store the embedding as the specification asks. */
export function checkEmbedding({ embedding, formats }: QuantizationSpec, plan: ModelPlan, findings: Findings): void {
  if (!embedding) return;
  for (const name of formats) {
    const { refuseEmbedding } = formatOf(name);
    const refused = refuseEmbedding
      ? refuseEmbedding(plan)
      : 'it stores the embedding as the source does. Leave embedding out, or write gguf (blocks such as Q8_0) or onnx (int4, int8).';
    if (refused) findings.refuse('PlanRefused', 'embedding', `Format ${name}: ${refused}`);
  }
}
