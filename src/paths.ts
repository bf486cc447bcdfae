const PLACEHOLDER = /\{(\w+)\}/g;

/** Fills `{name}` from parameters that have been checked: nothing is escaped, their form needs none. */
export function compilePathTemplate(template: string): (parameters: Readonly<Record<string, string>>) => string {
  const pieces = template.split(PLACEHOLDER);
  return (parameters) => pieces.map((piece, i) => (i % 2 === 0 ? piece : (parameters[piece] ?? ''))).join('');
}

/** `/a/{b}` as Express's router writes it: `/a/:b`. */
export function toExpressPath(template: string): string {
  return template.replace(PLACEHOLDER, ':$1');
}

/**
 * The path as sent, in a form that Express's router gives back letter for letter: it would decode `%2e`, cut at `#` and
 * trim some spaces. The query goes, and so do scheme and authority of an absolute-form target (RFC 9112, section 3.2.2).
 */
export function routablePath(target: string): string {
  const query = target.indexOf('?');
  const path = (query < 0 ? target : target.slice(0, query)).replace(/^https?:\/\/[^/]*/i, '');
  return path.replace(/[^\w\-./~]/g, encodeURIComponent);
}
