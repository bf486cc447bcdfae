import { hash } from 'node:crypto';

/** A strong entity tag (RFC 9110, section 8.8.3) of the document, not of the envelope: that has another trace id each time. */
export function computeEtag(data: string | Buffer): string {
  return `"${hash('sha256', data, 'base64url').slice(0, 27)}"`;
}
