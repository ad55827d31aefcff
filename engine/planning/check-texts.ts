import { access, constants, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ModelShape } from '../models/architecture';
import type { ErrorCode, QuantizationSpec } from '../spec';
import type { Findings } from './findings';

/** Checks that the texts asked for are there, that text can be tokenized, and that the model knows positions enough. */
export async function checkTexts(
  {
    spec,
    directory,
    shape,
    calibrated,
  }: { spec: QuantizationSpec; directory: string; shape: ModelShape | null; calibrated: boolean },
  findings: Findings,
): Promise<void> {
  const { calibration, evaluation } = spec;
  if (calibrated) await checkText(calibration.source, 'calibration.source', 'InvalidCalibration', findings);
  if (evaluation !== null) await checkText(evaluation.text, 'evaluation.text', 'InvalidText', findings);
  if (calibrated || evaluation !== null) await checkTokenizer(directory, findings);
  if (shape === null) return;
  const lengths = {
    'calibration.sequenceLength': calibrated ? calibration.sequenceLength : 0,
    'evaluation.context': evaluation?.context ?? 0,
  };
  for (const [field, tokens] of Object.entries(lengths)) {
    const limit = shape.sequenceLimit;
    if (limit && tokens > limit.tokens) {
      findings.refuse(
        'PlanRefused',
        field,
        `${tokens} tokens are more than the ${limit.tokens} that a sequence of this model can have here (config.json: ${limit.field}). Make it ${limit.tokens} or less.`,
      );
      continue;
    }
    if (tokens <= shape.maxPositions) continue;
    findings.warn(
      `${field} is ${tokens}, more than the ${shape.maxPositions} positions that the model was trained on (max_position_embeddings): ` +
        'what lies behind them says little about the model in use.',
    );
  }
}

async function checkText(source: string, where: string, code: ErrorCode, findings: Findings): Promise<void> {
  if (source === 'demo') return;
  const file = path.resolve(source);
  const found = await stat(file).catch(() => null);
  if (found === null)
    findings.refuse(code, where, `${file} does not exist. Name a text file, a JSONL file, or \`demo\`.`);
  else if (!found.isFile())
    findings.refuse(code, where, `${file} is not a file. Name a text file, a JSONL file, or \`demo\`.`);
  else if (found.size === 0) findings.refuse(code, where, `${file} is empty.`);
  else if (!(await isReadable(file))) findings.refuse(code, where, `${file} cannot be read by this user.`);
}

async function checkTokenizer(directory: string, findings: Findings): Promise<void> {
  const file = path.join(directory, 'tokenizer.json');
  if (await isReadable(file)) return;
  findings.refuse(
    'InvalidModel',
    'model',
    `${file} is missing: text cannot be turned into tokens. Copy it from where the model comes from, or use method rtn without evaluation.`,
  );
}

function isReadable(file: string): Promise<boolean> {
  return access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}
