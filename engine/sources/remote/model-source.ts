import type { SourceAccess } from './source-access';

/** A file of a model elsewhere. */
export interface RemoteFile {
  /** Relative to the model, with `/`. */
  readonly path: string;
  readonly bytes: number;
  /** What its content has to be: SHA-256 of it, or the SHA-1 that git names a blob by. null: only its size is known. */
  readonly digest: { readonly algorithm: 'sha256' | 'git-blob'; readonly hex: string } | null;
  /**
   * The bytes from `begin` on; the answer may hold fewer than asked for when the connection breaks, never others.
   *
   * @param end behind the last byte; default: all.
   * @throws QuantloomError; retryable where trying again may help.
   */
  read(
    range: { readonly begin: number; readonly end?: number },
    signal?: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>>;
}

/** A kind of place that models are fetched from. Adding one is one file and one line in `model-sources.ts`. */
export interface ModelSource {
  /** What addresses of it begin with, with the colon. */
  readonly scheme: string;

  /** Whether an address names a content that cannot change. @throws QuantloomError WrongUse for one that cannot be understood. */
  isPinned(address: string): boolean;

  /** The address of what is there now, for good. @throws QuantloomError. */
  pin(address: string, access: SourceAccess, signal?: AbortSignal): Promise<string>;

  /** Where what a pinned address names is kept: relative to the directory of models; its last part is the model's name. */
  folder(pinned: string): string;

  /** All files, of which few may be needed. @throws QuantloomError. */
  files(pinned: string, access: SourceAccess, signal?: AbortSignal): Promise<readonly RemoteFile[]>;
}
