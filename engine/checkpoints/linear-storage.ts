import type { InputRounding } from '../models';
import type { GridKind, QuantizedLinear } from '../quantizers/quantized-linear';
import type { ActivationType, FloatTensor, Recipe, Tensor } from '../spec';
import type { RawLinear } from './verification/raw-linear';
import type { StoredTensors } from './verification/stored-tensors';

/** How one linear is stored, in what formats have in common. */
export interface LinearSettings {
  readonly bits: number;
  /** Columns per group; -1: one group. 0: only the tensors say. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  /** Variant of the format, as `CheckpointFormat.layout` names it, or what this linear is stored as in it. */
  readonly layout: string;
  /** What codes are bits of. Absent: integers, or what the format says. */
  readonly floatType?: Recipe['floatType'];
  /** One scale for the whole weight is stored. Absent: one for each row and group, or what `floatType` says. */
  readonly perTensor?: true;
  /** What runtimes quantize its input to. Absent: nothing. */
  readonly activations?: ActivationType;
}

/** What of a recipe says how a linear is stored. */
export type StoredRecipe = Pick<LinearSettings, 'bits' | 'groupSize' | 'symmetric'> &
  Pick<Recipe, 'blockType' | 'floatType' | 'perTensor' | 'activations'>;

/** What is said of a checkpoint's linears. */
export interface LinearDescription {
  /** Who says so, with a verb, for messages: `config.json says`. */
  readonly describedBy: string;
  /** null: it says that the module is not quantized. @throws QuantloomError InvalidCheckpoint when it cannot be understood. */
  settingsOf(module: string): LinearSettings | null;
}

/** A linear as a reader has it: quantized, or `[rows, columns]` in float32 where what is stored are no codes of one of our grids. */
export type StoredLinear = QuantizedLinear | FloatTensor;

/** Where the tensors of a module are, and how they are stored. */
export interface LinearSource {
  /** For messages. */
  readonly where: string;
  readonly settings: LinearSettings;
  /** A tensor by its name; null when there is none. */
  read(tensor: string): Promise<Tensor | null>;
}

/** What is expected of a tensor. */
export interface ExpectedTensor {
  /** null: any size. */
  readonly shape: readonly (number | null)[];
  /** Any of these. */
  readonly dtypes: readonly string[];
  /** It need not be there. */
  readonly optional?: true;
}

/**
 * How linears lie in files, whoever wrote them: what reading and verification need to know of a format. Formats that differ in what is
 * written only share one.
 */
export interface LinearStorage {
  /** `quant_method` of the quantization_config, or what takes its place. */
  readonly method: string;

  /** The kinds of grids that `read` gives; floats are of none. */
  readonly grids: readonly GridKind[];

  /** The last parts of the names of a linear's tensors. A module that has the first is stored quantized. */
  readonly parts: readonly [string, ...string[]];

  /** Where linears are stored in several ways: a module that has one of these parts is stored quantized. */
  readonly markers?: readonly string[];

  /**
   * Linears lie as weights do that are not quantized, in the form of the source. No name tells them apart (`markers` is empty), only what was
   * recorded. Absent: they are codes.
   */
  readonly floats?: true;

  /**
   * What a quantization_config says: the variant of the format, and how each linear is stored. Absent where the files themselves say it.
   *
   * @throws QuantloomError UnsupportedInput for what cannot be read, InvalidCheckpoint for a field that makes no sense.
   */
  describe?(
    config: Readonly<Record<string, unknown>>,
  ): Pick<LinearDescription, 'settingsOf'> & { readonly layout: string };

  /** How a linear that was quantized with this recipe is stored. Default: with the settings that the recipe has. */
  settingsFor?(recipe: StoredRecipe): LinearSettings;

  /** What runtimes round the input of a linear to; undefined: it stays as it is. Absent: all do. */
  inputs?(settings: LinearSettings): InputRounding | undefined;

  /** `[rows, columns]` of a linear, from the shapes of its tensors by part, or from what is in them. @throws QuantloomError InvalidCheckpoint. */
  shape(
    settings: LinearSettings,
    shapeOf: (part: string) => readonly number[],
    read: (part: string) => Promise<Tensor | null>,
  ): readonly [number, number] | Promise<readonly [number, number]>;

  /** The tensors that a linear of this shape has, by part. */
  tensors(settings: LinearSettings, shape: readonly [number, number]): Readonly<Record<string, ExpectedTensor>>;

  /** @throws QuantloomError InvalidCheckpoint naming the tensor, what it is and what it should be. */
  read(module: string, source: LinearSource): Promise<StoredLinear>;

  /**
   * The same for verification: by code that is shared neither with `encodeLinear` nor with `read`. It takes sizes from the tensors alone;
   * what is said of them has to agree.
   *
   * @returns null for a variant that only other producers write, and that has no second decoder.
   * @throws Error saying what does not.
   */
  readRaw(module: string, stored: StoredTensors, description: LinearDescription): Promise<RawLinear | null>;
}

/** How a linear of a recipe is stored in a variant of a format. */
export function settingsFor(storage: LinearStorage, recipe: StoredRecipe, layout: string): LinearSettings {
  const { bits, groupSize, symmetric } = recipe;
  return storage.settingsFor?.(recipe) ?? { bits, groupSize, symmetric, layout };
}

/** Modules that are stored quantized, by the names of tensors. */
export function quantizedModules({ parts, markers = [parts[0]] }: LinearStorage, tensors: Iterable<string>): string[] {
  const ends = markers.map((marker) => `.${marker}`);
  return [...tensors].flatMap((name) => {
    const end = ends.find((part) => name.endsWith(part));
    return end === undefined ? [] : [name.slice(0, -end.length)];
  });
}

/** The same and, where linears are floats, those that are said to have been quantized. */
export function describedModules(
  storage: LinearStorage,
  tensors: Iterable<string>,
  isQuantized: (module: string) => boolean,
): string[] {
  if (!storage.floats) return quantizedModules(storage, tensors);
  return quantizedModules({ ...storage, markers: storage.parts }, tensors).filter(isQuantized);
}

/** The names that the tensors of quantized modules have. */
export function partNames({ parts }: LinearStorage, modules: readonly string[]): Set<string> {
  return new Set(modules.flatMap((module) => parts.map((part) => `${module}.${part}`)));
}
