import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { QuantloomError } from '../spec';
import { demoCalibrationText } from './demo-text';

export interface CalibrationText {
  /** In the order of the file; none is empty. A text file is one document. */
  readonly documents: readonly string[];
  /** Identity of the documents: SHA-256 over each one's length in bytes, a line break, and its UTF-8. */
  readonly sha256: string;
}

/** Far more than any calibration needs, and what one string can hold. */
const LIMIT_BYTES = 256 << 20;
const LINE_FEED = 0x0a;

/**
 * Reads a calibration source: `demo` (see demoCalibrationText), a text file in UTF-8, or a JSONL file (`.jsonl`, `.ndjson`) with one
 * object per line whose field `text` is a document.
 *
 * @throws QuantloomError InvalidCalibration naming the file and, for JSONL, the line.
 */
export async function readCalibrationText(source: string): Promise<CalibrationText> {
  const documents = source === 'demo' ? [await demoCalibrationText()] : await readDocuments(path.resolve(source));
  const hash = createHash('sha256');
  for (const document of documents) hash.update(`${Buffer.byteLength(document)}\n`).update(document);
  return { documents, sha256: hash.digest('hex') };
}

async function readDocuments(file: string): Promise<readonly string[]> {
  const content = await readContent(file);
  const documents = /\.(jsonl|ndjson)$/i.test(file) ? parseLines(file, content) : [decodeText(content, file)];
  const filled = documents.filter((document) => document.trim() !== '');
  if (filled.length === 0) throw invalid(file, 'holds no text. Take a file with text in it.');
  return filled;
}

async function readContent(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file);
    if (size > LIMIT_BYTES) {
      throw invalid(file, `has ${size} bytes; at most ${LIMIT_BYTES} are read. Cut it: a few megabytes are plenty.`);
    }
    return await readFile(file);
  } catch (error) {
    if (QuantloomError.is(error)) throw error;
    const { message } = error as Error;
    throw invalid(file, `cannot be read: ${message}. Name a text file, a JSONL file, or \`demo\`.`, error);
  }
}

function parseLines(file: string, content: Buffer): readonly string[] {
  const documents: string[] = [];
  for (let start = 0, number = 1; start < content.length; number++) {
    const found = content.indexOf(LINE_FEED, start);
    const end = found === -1 ? content.length : found;
    const line = decodeText(content.subarray(start, end), `${file}, line ${number},`);
    if (line.trim() !== '') documents.push(textOf(line, `${file}, line ${number},`));
    start = end + 1;
  }
  return documents;
}

function textOf(line: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw invalid(
      where,
      `is not JSON: ${(error as Error).message}. Every line must be an object with a field \`text\`.`,
      error,
    );
  }
  const text = typeof value === 'object' && value !== null ? (value as { text?: unknown }).text : undefined;
  if (typeof text === 'string') return text;
  throw invalid(where, 'has no field `text` that is a string. Every line must be like {"text": "..."}.');
}

function decodeText(content: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch (error) {
    throw invalid(where, 'is not UTF-8. Convert it, for example with iconv.', error);
  }
}

function invalid(where: string, what: string, cause?: unknown): QuantloomError {
  return new QuantloomError('InvalidCalibration', `Calibration source ${where} ${what}`, { cause, details: { where } });
}
