import prettyBytes from 'pretty-bytes';
import type { Recipe } from '../spec';
import { formatOf } from './formats';
import type { Manifest } from './manifest';
import { meanErrors } from './mean-errors';

/** What the card says beyond the manifest. */
export interface ModelCardContext {
  readonly manifest: Manifest;
  /** Bytes of the source's weight files, and of this checkpoint's. */
  readonly sourceWeightBytes: number;
  readonly weightBytes: number;
  /** SPDX-like id of the source's licence when it is known, e.g. from its README. */
  readonly licence?: string;
}

/**
 * README.md of a checkpoint: front matter as the Hugging Face hub reads it, the recipe, sizes, and how to load it. Only numbers that
 * were measured: without an evaluation there is no perplexity.
 */
export function modelCard(context: ModelCardContext): string {
  const { manifest } = context;
  const format = formatOf(manifest.format);
  const sections = [
    frontMatter(context),
    `# ${manifest.source.name}, quantized to ${describeBits(manifest)} (${manifest.layout})`,
    `Made from \`${manifest.source.address ?? manifest.source.name}\` by Quantloom ${manifest.quantloom}. \`quantloom.json\` records every input, setting and file by its SHA-256.`,
    `## Recipe\n\n${recipeTable(manifest)}`,
    ...calibration(manifest),
    ...errors(manifest),
    `## Size\n\n${sizes(context)}`,
    ...perplexity(manifest),
    `## Loading\n\n${format.loading(manifest)}`,
    `## Reproducing\n\nFrom a directory with the source model${manifest.calibration ? ' and the calibration text' : ''}:\n\n${reproduction(manifest)}`,
  ];
  return `${sections.join('\n\n')}\n`;
}

function frontMatter({ manifest, licence }: ModelCardContext): string {
  return [
    '---',
    `base_model: ${JSON.stringify(/^hf:([^@]+)/.exec(manifest.source.address ?? '')?.[1] ?? manifest.source.name)}`,
    'base_model_relation: quantized',
    'quantized_by: quantloom',
    'pipeline_tag: text-generation',
    ...(licence ? [`license: ${licence}`] : []),
    'tags:',
    ...[
      'quantloom',
      formatOf(manifest.format).storage.method,
      `${manifest.source.architecture}`,
      ...bitWidths(manifest).map((bits) => `${bits}-bit`),
    ].map((tag) => `- ${tag}`),
    '---',
  ].join('\n');
}

/** Linears by recipe, the most frequent first. */
function recipes(manifest: Manifest): { recipe: Recipe | null; modules: string[] }[] {
  const groups = new Map<string, { recipe: Recipe | null; modules: string[] }>();
  for (const [name, { recipe }] of Object.entries(manifest.linears)) {
    const key = JSON.stringify(recipe);
    const group = groups.get(key) ?? { recipe, modules: [] };
    group.modules.push(name);
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.modules.length - a.modules.length);
}

function bitWidths(manifest: Manifest): number[] {
  return [...new Set(recipes(manifest).flatMap(({ recipe }) => recipe?.bits ?? []))];
}

function describeBits(manifest: Manifest): string {
  const widths = bitWidths(manifest).sort((a, b) => a - b);
  return `${widths.join(', ')} bits`;
}

function bitsOf({ bits, blockType, floatType, activations }: Recipe): string {
  const notes = [blockType ?? floatType ?? [], activations ? `activations ${activations}` : []].flat();
  return notes.length > 0 ? `${bits} (${notes.join(', ')})` : String(bits);
}

function recipeTable(manifest: Manifest): string {
  const rows = recipes(manifest).map(({ recipe, modules }) => {
    const names = [...new Set(modules.map(withoutNumbers))];
    const cells = recipe
      ? [
          recipe.method,
          bitsOf(recipe),
          recipe.perTensor ? 'whole weight' : recipe.groupSize === -1 ? 'whole row' : String(recipe.groupSize),
          recipe.symmetric ? 'yes' : 'no',
          recipe.method === 'gptq' ? recipe.actOrder : '-',
          recipe.scales,
          recipe.method === 'gptq' ? String(recipe.refinements) : '-',
        ]
      : ['kept', '16', '-', '-', '-', '-', '-'];
    return `| ${modules.length} (${names.map((name) => `\`${name}\``).join(', ')}) | ${cells.join(' | ')} |`;
  });
  return [
    '| linears | method | bits | group size | symmetric | act-order | scales | refinements |',
    '|---|---|---|---|---|---|---|---|',
    ...rows,
    '',
    `${changes(manifest)} Order: \`${manifest.spec.order}\`.`,
  ].join('\n');
}

/** The same in every layer, and of every expert. */
function withoutNumbers(module: string): string {
  return module.replace(/^.*?\.\d+\./, '').replace(/\.\d+\./, '.*.');
}

function changes({ spec, format }: Manifest): string {
  const changed = [...rotated(spec), ...scaled(spec)];
  if (changed.length > 0) return changed.join(' ');
  const { planRecipes } = formatOf(format);
  if (spec.embedding && formatOf(format).keptStorage) {
    return `The embedding is in blocks of ${spec.embedding}${planRecipes ? ', a head that is not among the linears in those that llama.cpp chooses' : ''}; norms are unchanged.`;
  }
  if (planRecipes === undefined) return 'Embeddings and norms are unchanged.';
  return 'The embedding, and a head that is not among the linears, are in blocks of the type that llama.cpp chooses; norms are unchanged.';
}

function scaled({ scaling }: Manifest['spec']): string[] {
  if (scaling === 'none') return [];
  return [
    `Input channels of linears are scaled (${scaling === 'awq' ? 'AWQ' : 'SmoothQuant'}), and the inverse is folded into the norm or the linear before: norms, biases and weights differ ` +
      'from the source by these factors; embedding and head are unchanged by them.',
  ];
}

function rotated({ rotation }: Manifest['spec']): string[] {
  if (rotation === 'none') return [];
  return [
    'Hidden states and attention values are rotated by a randomized Hadamard matrix, which is folded into all weights: ' +
      'norms are one, embedding and head are two tensors.',
  ];
}

function calibration({ calibration, importance, spec }: Manifest): string[] {
  if (importance) {
    const { file, sha256, datasets, chunks } = importance;
    const texts = datasets.length > 0 ? ` of ${datasets.map((name) => `\`${name}\``).join(', ')}` : '';
    return [`## Calibration\n\nThe importance matrix \`${file}\`: ${chunks} chunks${texts} (SHA-256 \`${sha256}\`).`];
  }
  if (!calibration) return [];
  return [
    `## Calibration\n\n${calibration.samples} sequences of ${calibration.sequenceLength} tokens from \`${spec.calibration.source}\` (seed ${calibration.seed}; SHA-256 of the text \`${calibration.sourceSha256}\`, of the tokens \`${calibration.tokensSha256}\`).`,
  ];
}

/** The steps that improve on GPTQ, with the name of their column. */
const STEPS = {
  learnedRounding: 'rounding learned',
  refinements: 'refined',
  restarts: 'after restarts',
  groupRounds: 'groups solved again',
} as const;

/** What every step gained, block by block. */
function errors({ blocks }: Manifest): string[] {
  const steps = (Object.keys(STEPS) as (keyof typeof STEPS)[]).filter((step) =>
    blocks.some(({ linears }) => linears.some((linear) => linear.relativeErrorAfter?.[step] !== undefined)),
  );
  const rows = blocks.flatMap(({ name, linears }) => {
    const { relativeErrorBeforeRefinement: before } = meanErrors(linears);
    if (before === null) return [];
    // A linear that a step left out keeps the error of the step before.
    const after = steps.map((_, last) => mean(linears.map((linear) => errorAfter(linear, steps.slice(0, last + 1)))));
    return [{ name: `\`${name}\``, errors: [before, ...after] }];
  });
  if (rows.length === 0) return [];
  const columns = ['GPTQ', ...steps.map((step) => STEPS[step])];
  const means = columns.map((_, column) => mean(rows.map(({ errors }) => errors[column] as number)));
  const table = [...rows, { name: 'mean', errors: means }].map(
    ({ name, errors }) => `| ${name} | ${errors.map(percent).join(' | ')} |`,
  );
  const head = [`| block | ${columns.join(' | ')} |`, `|---${'|---'.repeat(columns.length)}|`];
  return [
    `## Output error\n\nMean over the linears of tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), on the calibration text.\n\n${[...head, ...table].join('\n')}`,
  ];
}

/** null: no Hessian, no error. */
function errorAfter(linear: Manifest['blocks'][number]['linears'][number], steps: readonly (keyof typeof STEPS)[]) {
  return steps.reduce<number | null>(
    (error, step) => linear.relativeErrorAfter?.[step] ?? error,
    linear.relativeErrorBeforeRefinement,
  );
}

function mean(errors: readonly (number | null)[]): number {
  const known = errors.filter((error) => error !== null);
  return known.reduce((sum, error) => sum + error, 0) / known.length;
}

function percent(share: number): string {
  return `${(100 * share).toPrecision(3)} %`;
}

function sizes({ manifest, sourceWeightBytes, weightBytes }: ModelCardContext): string {
  const share = ((100 * weightBytes) / sourceWeightBytes).toFixed(1);
  return [
    `- weight files: ${prettyBytes(weightBytes)} (source: ${prettyBytes(sourceWeightBytes)}; ${share} %)`,
    ...averageWidth(manifest),
    `- ${manifest.bitsPerWeight.toFixed(3)} bits per quantized weight, scales and zero points included`,
  ].join('\n');
}

function averageWidth({ spec, linears }: Manifest): string[] {
  if (spec.averageBits === null) return [];
  let bits = 0;
  let weights = 0;
  for (const { recipe, rows, columns } of Object.values(linears)) {
    if (recipe === null) continue;
    bits += recipe.bits * rows * columns;
    weights += rows * columns;
  }
  const mean = (bits / weights).toFixed(3);
  return [`- ${mean} bits per code on average, chosen for each linear by its error (asked for: ${spec.averageBits})`];
}

function perplexity({ perplexity, spec }: Manifest): string[] {
  if (!perplexity) return [];
  const { original, quantized, context, scoredTokens, textSha256 } = perplexity;
  const rows = [
    ...(original === null ? [] : [`| source | ${original.toFixed(4)} |`]),
    `| this checkpoint | ${quantized.toFixed(4)} |`,
  ];
  return [
    [
      '## Perplexity',
      '',
      '| model | perplexity |',
      '|---|---|',
      ...rows,
      '',
      `On \`${spec.evaluation?.text ?? 'text'}\` (SHA-256 \`${textSha256}\`): ${scoredTokens} tokens scored in windows of ${context} that do not overlap; the first token of a window is not scored.`,
    ].join('\n'),
  ];
}

function reproduction({ source, spec, format }: Manifest): string {
  const command = `quantloom quantize ${source.address ?? source.name} --spec spec.json --out ${source.name}-${format}`;
  return `\`\`\`sh\ncat > spec.json <<'END'\n${JSON.stringify(spec, null, 2)}\nEND\n${command}\n\`\`\``;
}
