type Json = Readonly<Record<string, unknown>>;

const text = (description: string, example: string, more: Json = {}): Json => ({
  description,
  schema: { type: 'string', ...more },
  example,
});

/** On every answer. */
const required = (header: Json): Json => ({ ...header, required: true });

/** The headers of answers, each under its name. */
export const sharedHeaders = {
  'X-Trace-Id': required(
    text('The trace id, as in the envelope.', '4bf92f3577b34da6a3ce929d0e0e4736', {
      pattern: '^[0-9a-f]{32}$',
    }),
  ),
  Vary: required(text('What answers depend on.', 'X-API-Key, Authorization')),
  'X-Content-Type-Options': required(text('The content is what its type says.', 'nosniff', { const: 'nosniff' })),
  'RateLimit-Policy': text('The key’s limits: q requests in any w seconds.', '"default";q=600;w=60'),
  RateLimit: text('The tightest of them now: r requests are free, one more in t seconds.', '"default";r=599;t=1'),
  'Retry-After': {
    description: 'When to try again, in seconds.',
    schema: { type: 'integer', minimum: 1 },
    example: 3,
  },
  ETag: text('Of the data, not of the envelope.', '"mYtU5Sxpdq6eKf6WUxgHaxLGn6G"', {
    pattern: '^"[A-Za-z0-9_-]{27}"$',
  }),
  'Cache-Control': required(text('Who may keep the answer, and for how long.', 'private, no-cache')),
  'Cache-Status': text('What the gateway’s cache did (RFC 9211).', 'campaign-gateway; hit; ttl=25'),
  Age: { description: 'How old the data is, in seconds.', schema: { type: 'integer', minimum: 0 }, example: 5 },
  'WWW-Authenticate': text('How to show a key.', 'Bearer realm="campaign-gateway"'),
  Allow: text('The methods that there are.', 'GET, HEAD'),
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
  502: [...limits, ...cached],
  503: ['Retry-After'],
};

export const headersOfSuccess = (): Json => refs([...always, ...limits, 'ETag', ...cached]);

export const headersOfError = (status: number): Json => refs([...always, ...(byStatus[status] ?? [])]);

function refs(names: readonly Name[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}
