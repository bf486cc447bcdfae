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
