import express, { type Express } from 'express';
import type { Endpoint } from './endpoints/endpoint.ts';
import { toExpressPath } from './http/path-template.ts';
import { ifKeyPresented } from './middleware/credentials.ts';
import { methodNotAllowed, routeNotFound } from './middleware/no-route.ts';
import type { ErrorHandler, Handler } from './middleware/request-context.ts';
import type { PublicRoute } from './openapi/routes.ts';

/** The stages of a request to an endpoint, in running order. The command `explain` reports on the same list. */
export const stageOrder = [
  'authenticate', // First: without a valid key a caller learns nothing about the request.
  'rateLimit', // Before all other checks, so that every request with a valid key counts, whatever its response.
  'authorize',
  'validateParams', // Before the path parameters are used for anything.
  'requireAccountGroup', // Before anything is read: the 403 is the same whether the document exists or not.
  'readDocument', // From the cache or the campaign service. One cache entry serves every key that gets here.
  'respond',
] as const;

export type StageName = (typeof stageOrder)[number];

export interface AppOptions {
  readonly endpoints: readonly Endpoint[];
  /** Routes that need no key. */
  readonly publicRoutes: readonly PublicRoute[];
  readonly trustProxy: boolean | number | string;
  readonly stages: Readonly<Record<StageName, (endpoint: Endpoint) => Handler>>;
  /** The first two stages for responses that do not depend on an endpoint: a key is optional, but verified and counted. */
  readonly optionalKey: readonly Handler[];
  readonly setPublicHeaders: Handler;
  readonly handleErrors: ErrorHandler;
}

/**
 * What happens to a request, in running order. Malformed requests and those rejected under overload do not get here, and
 * `startRequest` has created the context in `response.locals`: see `onRequest` in `gateway.ts`.
 */
export function createApp(options: AppOptions): Express {
  const { endpoints, publicRoutes, stages, setPublicHeaders } = options;
  const app = express();
  app.disable('x-powered-by').disable('etag').disable('query parser').set('trust proxy', options.trustProxy);
  app.enable('case sensitive routing').enable('strict routing');

  const otherMethods = [...options.optionalKey.map(ifKeyPresented), methodNotAllowed];
  for (const endpoint of endpoints) {
    const route = app.route(toExpressPath(endpoint.path));
    route.get(...stageOrder.map((name) => stages[name](endpoint))); // And HEAD.
    route.all(...otherMethods);
  }
  for (const { path, handlers } of publicRoutes) {
    const route = app.route(path);
    route.get(setPublicHeaders, ...handlers);
    route.all(...otherMethods);
  }

  app.use(...options.optionalKey.map(ifKeyPresented), routeNotFound);
  app.use(options.handleErrors); // Sends the error envelope for whatever a stage threw.
  return app;
}
