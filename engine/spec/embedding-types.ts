import { QUANTIZED_BLOCK_TYPES, type QuantizedBlockType } from './gguf-names';

/** Integers that an embedding is stored in, with a scale per group: their bits. */
export const EMBEDDING_BITS = { int4: 4, int8: 8 } as const;

/** What an embedding is stored in: integers, or blocks of GGUF. */
export type EmbeddingType = keyof typeof EMBEDDING_BITS | QuantizedBlockType;

export const EMBEDDING_TYPES = [
  ...(Object.keys(EMBEDDING_BITS) as (keyof typeof EMBEDDING_BITS)[]),
  ...QUANTIZED_BLOCK_TYPES,
];

/** The bits of integers; null: it is a block type. */
export function embeddingBits(type: EmbeddingType): 4 | 8 | null {
  return EMBEDDING_BITS[type as keyof typeof EMBEDDING_BITS] ?? null;
}

/** Names are taken in any case. */
export function embeddingTypeNamed(name: string): string {
  return EMBEDDING_TYPES.find((type) => type.toLowerCase() === name.toLowerCase()) ?? name;
}
