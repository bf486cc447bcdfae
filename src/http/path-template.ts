const PLACEHOLDER = /\{(\w+)\}/g;

/** Fills `{name}` from parameters that have been checked: nothing is escaped, their form needs none. */
export function compilePathTemplate(template: string): (parameters: Readonly<Record<string, string>>) => string {
  const pieces = template.split(PLACEHOLDER);
  return (parameters) => {
    let path = '';
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i] as string;
      path += i % 2 === 0 ? piece : (parameters[piece] ?? '');
    }
    return path;
  };
}

/** Reads what stands for each `{name}` in a path: one whole segment, as it was sent. Undefined for another path. */
export function compilePathMatcher(template: string): (path: string) => Readonly<Record<string, string>> | undefined {
  const pieces = template.split(PLACEHOLDER);
  const names = pieces.filter((_, i) => i % 2 === 1);
  const pattern = new RegExp(
    `^${pieces.map((piece, i) => (i % 2 === 0 ? RegExp.escape(piece) : '([^/]+)')).join('')}$`,
  );
  return (path) => {
    const match = pattern.exec(path);
    if (!match) return undefined;
    const parameters: Record<string, string> = {};
    for (const [i, name] of names.entries()) parameters[name] = match[i + 1] as string;
    return parameters;
  };
}

/** The path of a request target: the query goes, and so do scheme and authority of an absolute form (RFC 9112, section 3.2.2). */
export function pathFromTarget(target: string): string {
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  return path.startsWith('/') ? path : path.replace(/^https?:\/\/[^/]*/i, '');
}
