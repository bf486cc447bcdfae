import { readFileSync } from 'node:fs';
import helmet from 'helmet';
import type { Endpoint } from '../endpoints/endpoint.ts';
import type { Stage } from '../middleware/pipeline.ts';
import type { Exchange } from '../middleware/request-context.ts';
import { redirect, sendAsset } from '../middleware/respond.ts';
import { buildOpenApiDocument } from './document.ts';
import { jsonAsset, type StaticAsset, staticAsset } from './static-asset.ts';

interface Route {
  readonly path: `/${string}`;
  readonly stages: readonly Stage[];
}

/** What is there for everybody to read: the API description and, with `hasPage`, the page made from it. */
export function referenceRoutes(endpoints: readonly Endpoint[], hasPage: boolean): readonly Route[] {
  const description: Route = { path: '/openapi.json', stages: [sendAsset(jsonAsset(buildOpenApiDocument(endpoints)))] };
  return hasPage ? [description, ...pageRoutes()] : [description];
}

/** The page and all that it loads: nothing comes from another host. */
function pageRoutes(): readonly Route[] {
  const [html, css, script] = ['text/html; charset=utf-8', 'text/css; charset=utf-8', 'text/javascript; charset=utf-8'];
  const documents: readonly (readonly [`/${string}`, StaticAsset])[] = [
    ['/docs', file(html, import.meta.resolve('./page/page.html'))],
    ['/docs/page.css', file(css, import.meta.resolve('./page/page.css'))],
    ['/docs/page.js', file(script, import.meta.resolve('./page/page.js'))],
    ['/docs/icon.svg', file('image/svg+xml', import.meta.resolve('./page/icon.svg'))],
    ['/docs/swagger-ui.css', file(css, import.meta.resolve('swagger-ui-dist/swagger-ui.css'))],
    ['/docs/swagger-ui-bundle.js', file(script, import.meta.resolve('swagger-ui-dist/swagger-ui-bundle.js'))],
  ];
  return [
    { path: '/', stages: [redirect('/docs')] },
    ...documents.map(([path, document]) => ({ path, stages: [securePage, sendAsset(document)] })),
  ];
}

function file(contentType: string, url: string): StaticAsset {
  return staticAsset(contentType, readFileSync(new URL(url)));
}

const setSecurityHeaders = helmet({
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
  strictTransportSecurity: false, // Whoever ends TLS before the gateway decides for the host.
});

/** The page may load and ask nothing but this gateway, and be shown in no frame. */
function securePage({ request, response }: Exchange): void {
  setSecurityHeaders(request, response, () => {});
}
