import { hash } from 'node:crypto';
import fresh from 'fresh';

/** A strong entity tag (RFC 9110, section 8.8.3) of the content itself. The envelope differs with each trace id. */
export function computeEtag(content: string | Buffer): string {
  return `"${hash('sha256', content, 'base64url').slice(0, 27)}"`;
}

/** Whether `If-None-Match` lists the entity tag (RFC 9110, section 13.1.2). The request's own `Cache-Control` is ignored. */
export function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  return ifNoneMatch !== undefined && fresh({ 'if-none-match': ifNoneMatch }, { etag });
}
