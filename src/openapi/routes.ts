import { readFileSync } from 'node:fs';
import type { RequestHandler } from 'express';
import helmet from 'helmet';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { buildOpenApiDocument } from './document.ts';
import type { Reference } from './reference.ts';
import { renderPage } from './reference-page.ts';
import { serveAsset } from './static-asset.ts';

/** A route that needs no key. */
export interface PublicRoute {
  readonly path: `/${string}`;
  /** Of the response to a GET request without a condition. */
  readonly status: 200 | 302;
  readonly handlers: readonly RequestHandler[];
}

/** The OpenAPI document and, with `docs`, the reference page, which loads nothing from other hosts. */
export function openApiRoutes(endpoints: readonly Endpoint[], docs: boolean): readonly PublicRoute[] {
  const document = buildOpenApiDocument(endpoints);
  const route = {
    path: '/openapi.json',
    status: 200,
    handlers: [serveAsset('application/json; charset=utf-8', `${JSON.stringify(document, null, 2)}\n`)],
  } as const;
  return docs ? [route, ...pageRoutes(renderPage(endpoints, document as unknown as Reference))] : [route];
}

function pageRoutes(page: string): readonly PublicRoute[] {
  const asset = (path: `/${string}`, type: string, content: string | Buffer): PublicRoute => {
    return { path, status: 200, handlers: [securityHeaders, serveAsset(`${type}; charset=utf-8`, content)] };
  };
  const file = (name: string) => readFileSync(new URL(`page/${name}`, import.meta.url));
  return [
    {
      path: '/',
      status: 302,
      handlers: [
        (_request, response) =>
          void response.status(302).set('Cache-Control', 'public, no-cache').location('/docs').end(),
      ],
    },
    asset('/docs', 'text/html', page),
    asset('/docs/page.css', 'text/css', file('page.css')),
    asset('/docs/page.js', 'text/javascript', file('page.js')),
    asset('/docs/icon.svg', 'image/svg+xml', file('icon.svg')),
  ];
}

/** The page may load from and call only this gateway, and may not be framed. */
const securityHeaders = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
  strictTransportSecurity: false, // Decided by the proxy that terminates TLS.
});
