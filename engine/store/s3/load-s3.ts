import type { S3Bucket } from './s3-bucket';
import type { S3Store } from './s3-store';

/** Amazon's SDK takes a quarter of a second to load: only who needs it waits for it. */
export function loadS3(): { readonly S3Bucket: typeof S3Bucket; readonly S3Store: typeof S3Store } {
  return {
    ...(require('./s3-bucket') as typeof import('./s3-bucket')),
    ...(require('./s3-store') as typeof import('./s3-store')),
  };
}
