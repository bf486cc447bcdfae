import express from 'express';
import { routablePath, toExpressPath } from './paths.ts';

/** Where a request's path leads, with the path's parameters as they were sent: not decoded, not checked. */
export interface Match<Target> {
  readonly target: Target;
  readonly rawParameters: Readonly<Record<string, string>>;
}

/** Express's router, for paths alone: case-sensitive, a trailing slash makes another path. */
export function createRouter<Target extends { readonly path: string }>(
  targets: readonly Target[],
): (requestTarget: string) => Match<Target> | undefined {
  const router = express.Router({ caseSensitive: true, strict: true });
  for (const target of targets) {
    router.all(toExpressPath(target.path), (request) => {
      (request as unknown as Probe<Target>).match = {
        target,
        rawParameters: request.params as Record<string, string>,
      };
    });
  }
  return (requestTarget) => {
    // All that the router looks at, and writes its own notes to.
    const probe: Probe<Target> = { method: 'GET', url: routablePath(requestTarget), match: undefined };
    router(probe as unknown as express.Request, noResponse, () => {});
    return probe.match;
  };
}

const noResponse = {} as express.Response;

interface Probe<Target> {
  readonly method: string;
  readonly url: string;
  match: Match<Target> | undefined;
}
