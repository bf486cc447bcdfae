/** A name with an optional token or quoted-string argument. No whitespace is allowed around `=`. */
const DIRECTIVE = /([!#$%&'*+\-.^_`|~\w]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*)))?/g;

/**
 * Parses a `Cache-Control` field (RFC 9111, section 5.2). Names are in lower case. A missing or empty argument is `''`;
 * a repeated directive lists all its arguments.
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

/** Parses delta-seconds (RFC 9111, section 1.2.2), capped at 2^31. Undefined if the text is anything else. */
export function parseDeltaSeconds(text: string): number | undefined {
  return /^\d+$/.test(text) ? Math.min(Number(text), 2 ** 31) : undefined;
}
