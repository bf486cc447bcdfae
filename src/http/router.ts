import { compilePathMatcher, pathFromTarget } from './path-template.ts';

/** Where a request's path leads, with the path's parameters as they were sent: not decoded, not checked. */
export interface Match<Target> {
  readonly route: Target;
  readonly rawParameters: Readonly<Record<string, string>>;
}

/** Matches paths letter for letter: a case, a trailing slash or an escape more makes another path. */
export function createRouter<Target extends { readonly path: string }>(
  targets: readonly Target[],
): (requestTarget: string) => Match<Target> | undefined {
  const routes = targets.map((route) => ({ route: route, match: compilePathMatcher(route.path) }));
  return (requestTarget) => {
    const path = pathFromTarget(requestTarget);
    for (const { route, match } of routes) {
      const rawParameters = match(path);
      if (rawParameters) return { route: route, rawParameters };
    }
    return undefined;
  };
}
