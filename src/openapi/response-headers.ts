import type { Json } from './schemas.ts';

const text = (description: string, example: string, constraints: Json = {}): Json => ({
  description,
  schema: { type: 'string', ...constraints },
  example,
});

/** Marks a header that every response carries. */
const required = (header: Json): Json => ({ ...header, required: true });

/** Header definitions by name, for `components.headers`. */
export const sharedHeaders = {
  'X-Trace-Id': required(
    text('Trace ID of the request, equal to `traceId` in the body.', '4bf92f3577b34da6a3ce929d0e0e4736', {
      pattern: '^[0-9a-f]{32}$',
    }),
  ),
  Vary: required(text('Request headers that the response depends on.', 'X-API-Key, Authorization')),
  'X-Content-Type-Options': required(text('Disables content type sniffing.', 'nosniff', { const: 'nosniff' })),
  'RateLimit-Policy': text(
    'Rate limits of the key: the sustained rate is `q` requests per `w` seconds, and up to `cgw-burst` requests (default `q`) are allowed at once. Any window of `w` seconds admits at most `cgw-burst` + `q` requests.',
    '"default";q=600;w=60',
  ),
  RateLimit: text(
    'State of the limit that binds first: `r` requests are available now. Spread evenly over `t` seconds, they are never rejected. When `r` is 0, the next request is allowed in `t` seconds.',
    '"default";r=599;t=60',
  ),
  'Retry-After': {
    description: 'Number of seconds to wait before the next attempt.',
    schema: { type: 'integer', minimum: 1 },
    example: 3,
  },
  ETag: text(
    'Entity tag of `data`. Send it in `If-None-Match` to revalidate a stored response.',
    '"mYtU5Sxpdq6eKf6WUxgHaxLGn6G"',
    { pattern: '^"[A-Za-z0-9_-]{27}"$' },
  ),
  'Cache-Control': required(text('Caching rules for clients and intermediaries.', 'private, no-cache')),
  'Cache-Status': text(
    'How the gateway’s cache handled the request (RFC 9211). `hit`: served from the cache. `fwd`: fetched from the campaign service. `ttl`: remaining freshness in seconds, negative for a stale response. `detail`: why the response is stale, or not stored.',
    'campaign-gateway; hit; ttl=25',
  ),
  'Proxy-Status': text(
    'Why the campaign service gave no usable response (RFC 9209).',
    'campaign-gateway; error=http_response_timeout',
  ),
  Age: { description: 'Age of a cached response in seconds.', schema: { type: 'integer', minimum: 0 }, example: 5 },
  'WWW-Authenticate': text('Authentication scheme that the endpoint accepts.', 'Bearer realm="campaign-gateway"'),
  Allow: text('Methods that the path supports.', 'GET, HEAD'),
} as const satisfies Record<string, Json>;

type Name = keyof typeof sharedHeaders;

const always: readonly Name[] = ['X-Trace-Id', 'Vary', 'X-Content-Type-Options', 'Cache-Control'];
const limits: readonly Name[] = ['RateLimit-Policy', 'RateLimit'];
const cached: readonly Name[] = ['Cache-Status', 'Age'];

const byStatus: Readonly<Record<number, readonly Name[]>> = {
  400: limits,
  401: ['WWW-Authenticate'],
  403: limits,
  404: [...limits, ...cached],
  405: ['Allow', ...limits],
  429: [...limits, 'Retry-After'],
  500: limits,
  502: [...limits, 'Proxy-Status', ...cached],
  503: ['Retry-After'],
};

export const successHeaders = (): Json => refs([...always, ...limits, 'ETag', ...cached]);

export const errorHeaders = (status: number): Json => refs([...always, ...(byStatus[status] ?? [])]);

function refs(names: readonly Name[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}
