/** Scalar types of metadata values, with their numbers in the file and their bytes (0: of varying length). */
export const VALUE_TYPES = {
  uint8: { id: 0, bytes: 1 },
  int8: { id: 1, bytes: 1 },
  uint16: { id: 2, bytes: 2 },
  int16: { id: 3, bytes: 2 },
  uint32: { id: 4, bytes: 4 },
  int32: { id: 5, bytes: 4 },
  float32: { id: 6, bytes: 4 },
  bool: { id: 7, bytes: 1 },
  string: { id: 8, bytes: 0 },
  uint64: { id: 10, bytes: 8 },
  int64: { id: 11, bytes: 8 },
  float64: { id: 12, bytes: 8 },
} as const;
export type ValueType = keyof typeof VALUE_TYPES;
export const ARRAY_ID = 9;

type NumberType = Exclude<ValueType, 'bool' | 'string' | 'uint64' | 'int64'>;

/** What an array of numbers is kept in: one that a hostile file claims takes no more memory than its bytes. */
export interface NumberArrays {
  uint8: Uint8Array;
  int8: Int8Array;
  uint16: Uint16Array;
  int16: Int16Array;
  uint32: Uint32Array;
  int32: Int32Array;
  float32: Float32Array;
  float64: Float64Array;
  uint64: BigUint64Array;
  int64: BigInt64Array;
}

/** An array of metadata. Arrays of arrays, which the format allows and llama.cpp refuses, are neither read nor written. */
export type GgufArray =
  | {
      readonly [Type in keyof NumberArrays]: { readonly of: Type; readonly values: NumberArrays[Type] };
    }[keyof NumberArrays]
  | { readonly of: 'bool'; readonly values: readonly boolean[] }
  | { readonly of: 'string'; readonly values: readonly string[] };

/** A value of metadata with its type in the file. */
export type GgufValue =
  | { readonly type: NumberType; readonly value: number }
  | { readonly type: 'uint64' | 'int64'; readonly value: bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly value: GgufArray };

/** By key, in the order of the file. */
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

export const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });
export const float32 = (value: number): GgufValue => ({ type: 'float32', value });
export const bool = (value: boolean): GgufValue => ({ type: 'bool', value });
export const text = (value: string): GgufValue => ({ type: 'string', value });
export const texts = (values: readonly string[]): GgufValue => ({ type: 'array', value: { of: 'string', values } });
export const int32s = (values: Int32Array): GgufValue => ({ type: 'array', value: { of: 'int32', values } });
export const float32s = (values: Float32Array): GgufValue => ({ type: 'array', value: { of: 'float32', values } });
