const ENTITY_TAG = /(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")/y;
const SEPARATOR = /[ \t]*(?:,[ \t]*)*/y;

/**
 * Whether `If-None-Match` holds for a strong entity tag, by weak comparison (RFC 9110, sections 8.8.3.2 and 13.1.2): `*`,
 * or a list in which it stands. A list that breaks the grammar counts as far as it can be read.
 */
export function ifNoneMatchMatches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  let at = 0;
  for (;;) {
    SEPARATOR.lastIndex = at;
    SEPARATOR.exec(header);
    ENTITY_TAG.lastIndex = SEPARATOR.lastIndex;
    const tag = ENTITY_TAG.exec(header);
    if (!tag) return false;
    if (tag[1] === etag) return true;
    at = ENTITY_TAG.lastIndex;
  }
}
