/** A directive is a name, perhaps with a token or a quoted string; there is no space around the equals sign. */
const DIRECTIVE = /([!#$%&'*+\-.^_`|~\w]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*)))?/g;

/**
 * The directives of a `Cache-Control` field (RFC 9111, section 5.2), names in lower case; without an argument, or with an
 * empty one: `''`. A name that stands there repeatedly has all its arguments.
 */
export function parseCacheControl(field: string | undefined): ReadonlyMap<string, readonly string[]> {
  const directives = new Map<string, string[]>();
  for (const [, name = '', quoted, token] of (field ?? '').matchAll(DIRECTIVE)) {
    const existing = directives.get(name.toLowerCase());
    const argument = quoted ?? token ?? '';
    if (existing) existing.push(argument);
    else directives.set(name.toLowerCase(), [argument]);
  }
  return directives;
}

/** Seconds as RFC 9111, section 1.2.2, writes them; undefined for anything else. */
export function parseDeltaSeconds(text: string): number | undefined {
  return /^\d+$/.test(text) ? Math.min(Number(text), 2 ** 31) : undefined;
}
