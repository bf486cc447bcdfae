import type { IncomingHttpHeaders } from 'node:http';

/** Header fields stored with a document to revalidate it: its entity tag or, without one, its modification date. */
export interface Validators {
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
  /** It continues to apply where a 304 has no `Cache-Control` (RFC 9111, section 3.2). */
  readonly cacheControl?: string | undefined;
}

/** RFC 9110, section 8.8.3. A longer entity tag is not worth its memory. */
const ENTITY_TAG = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]{0,256}"$/;
const MAX_CACHE_CONTROL_LENGTH = 256;

export function parseValidators(headers: IncomingHttpHeaders): Validators | undefined {
  const { etag, 'cache-control': cacheControl } = headers;
  const validEtag = etag !== undefined && ENTITY_TAG.test(etag) ? etag : undefined;
  const lastModified = validEtag === undefined && hasReliableDate(headers) ? headers['last-modified'] : undefined;
  const isUsable = validEtag !== undefined || lastModified !== undefined;
  if (!isUsable || (cacheControl?.length ?? 0) > MAX_CACHE_CONTROL_LENGTH) return undefined;
  return { etag: validEtag, lastModified, cacheControl };
}

/**
 * RFC 9110, section 8.8.2.2: the document may change again within the second of `Last-Modified`. So the date identifies a
 * version only if the response is from a later second.
 */
function hasReliableDate({ date, 'last-modified': lastModified }: IncomingHttpHeaders): boolean {
  if (date === undefined || lastModified === undefined) return false;
  return Date.parse(date) - Date.parse(lastModified) >= 1000;
}

/** RFC 9110, section 13.1. */
export function conditionalHeaders({ etag, lastModified }: Validators): Record<string, string> {
  if (etag !== undefined) return { 'if-none-match': etag };
  return lastModified === undefined ? {} : { 'if-modified-since': lastModified };
}

/**
 * Updates the stored header fields with those of a 304 (RFC 9111, sections 3.2 and 4.3.4). Undefined if the 304 names
 * another entity tag, and so does not concern the stored document.
 */
export function updateHeaders(stored: Validators, headers: IncomingHttpHeaders): IncomingHttpHeaders | undefined {
  const { etag = stored.etag, 'cache-control': cacheControl = stored.cacheControl } = headers;
  if (toOpaqueTag(etag) !== toOpaqueTag(stored.etag) && stored.etag !== undefined) return undefined;
  return { 'last-modified': stored.lastModified, ...headers, etag, 'cache-control': cacheControl };
}

/** For weak comparison, which revalidation uses (RFC 9110, section 13.1.2). */
function toOpaqueTag(etag: string | undefined): string | undefined {
  return etag?.replace(/^W\//, '');
}
