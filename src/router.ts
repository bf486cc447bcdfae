import { compilePathPattern, pathOf } from './paths.ts';

/** Where a request's path leads, with the path's parameters as they were sent: not decoded, not checked. */
export interface Match<Target> {
  readonly target: Target;
  readonly rawParameters: Readonly<Record<string, string>>;
}

/** Matches paths letter for letter: a case, a trailing slash or an escape more makes another path. */
export function createRouter<Target extends { readonly path: string }>(
  targets: readonly Target[],
): (requestTarget: string) => Match<Target> | undefined {
  const routes = targets.map((target) => ({ target, match: compilePathPattern(target.path) }));
  return (requestTarget) => {
    const path = pathOf(requestTarget);
    for (const { target, match } of routes) {
      const rawParameters = match(path);
      if (rawParameters) return { target, rawParameters };
    }
    return undefined;
  };
}
