const PLACEHOLDER = /\{(\w+)\}/g;

/** Fills `{name}` from validated parameters. Nothing is escaped: valid identifiers need no escaping. */
export function compilePathTemplate(template: string): (parameters: Readonly<Record<string, string>>) => string {
  const [first = '', ...rest] = template.split(PLACEHOLDER);
  return (parameters) => {
    let path = first;
    for (let i = 0; i < rest.length; i += 2) path += `${parameters[rest[i] as string]}${rest[i + 1]}`;
    return path;
  };
}

/** `/a/{b}` as Express writes it: `/a/:b`. */
export function toExpressPath(template: string): string {
  return template.replace(PLACEHOLDER, ':$1');
}

/** The raw value of each `{name}` in a path, one segment each; undefined if the path does not match. */
export function matchPathTemplate(template: string, path: string): Readonly<Record<string, string>> | undefined {
  const pattern = template
    .split(PLACEHOLDER)
    .map((part, i) => (i % 2 === 0 ? RegExp.escape(part) : `(?<${part}>[^/]+)`));
  return new RegExp(`^${pattern.join('')}$`).exec(path)?.groups;
}

/** The path of a request target, without query, scheme and authority. An empty path is `/` (RFC 9110, section 4.2.3). */
export function pathFromTarget(target: string): string {
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  return path.startsWith('/') ? path : path.replace(/^https?:\/\/[^/]*/i, '') || '/';
}

const templates = new Map<string, string>();

/** The reverse of `toExpressPath`, computed once per route. */
export function toPathTemplate(expressPath: string): string {
  const template = templates.get(expressPath) ?? expressPath.replace(/:(\w+)/g, '{$1}');
  templates.set(expressPath, template);
  return template;
}
