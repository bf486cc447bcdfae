import { readFileSync } from 'node:fs';
import type { RequestHandler } from 'express';
import helmet from 'helmet';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { buildOpenApiDocument } from './document.ts';
import { serveAsset } from './static-asset.ts';

/** A route that needs no key. */
export interface PublicRoute {
  readonly path: `/${string}`;
  readonly handlers: readonly RequestHandler[];
}

/** The API description and, with `docs`, the reference page, which loads nothing from other hosts. */
export function openApiRoutes(endpoints: readonly Endpoint[], docs: boolean): readonly PublicRoute[] {
  const description = `${JSON.stringify(buildOpenApiDocument(endpoints), null, 2)}\n`;
  const route = {
    path: '/openapi.json',
    handlers: [serveAsset('application/json; charset=utf-8', description)],
  } as const;
  return docs ? [route, ...pageRoutes()] : [route];
}

function pageRoutes(): readonly PublicRoute[] {
  const asset = (path: `/${string}`, type: string, file: string): PublicRoute => {
    const content = readFileSync(new URL(file));
    return { path, handlers: [securityHeaders, serveAsset(`${type}; charset=utf-8`, content)] };
  };
  return [
    {
      path: '/',
      handlers: [(_request, response) => response.set('Cache-Control', 'public, no-cache').redirect('/docs')],
    },
    asset('/docs', 'text/html', import.meta.resolve('./page/page.html')),
    asset('/docs/page.css', 'text/css', import.meta.resolve('./page/page.css')),
    asset('/docs/page.js', 'text/javascript', import.meta.resolve('./page/page.js')),
    asset('/docs/icon.svg', 'image/svg+xml', import.meta.resolve('./page/icon.svg')),
    asset('/docs/swagger-ui.css', 'text/css', import.meta.resolve('swagger-ui-dist/swagger-ui.css')),
    asset('/docs/swagger-ui-bundle.js', 'text/javascript', import.meta.resolve('swagger-ui-dist/swagger-ui-bundle.js')),
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
      imgSrc: ["'self'", 'data:'],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
  strictTransportSecurity: false, // Decided by the proxy that terminates TLS.
});
