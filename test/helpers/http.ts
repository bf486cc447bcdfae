import { checkAgainstOpenApi } from './openapi-contract.ts';
import { checkStructuredFields, parseRateLimitField } from './structured-fields.ts';

export { exchangeBytes } from './raw-client.ts';

interface Envelope {
  success: boolean;
  data: Record<string, unknown> | null;
  error: { code: string; message: string; details: string } | null;
  traceId: string;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Envelope;
}

/**
 * Sends a request and parses the envelope. Throws when a gateway response does not match the OpenAPI document, or has a malformed
 * structured field.
 */
export async function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<HttpResponse> {
  const response = await fetch(url, { method, headers });
  const { status } = response;
  const text = await response.text();
  const header = (name: string) => response.headers.get(name);
  if (response.headers.has('x-trace-id')) {
    const path = new URL(url).pathname;
    checkAgainstOpenApi({ method, path, status, header, headerNames: [...response.headers.keys()], body: text });
    checkStructuredFields(status, header);
  }
  return { status, headers: response.headers, text, body: text === '' ? (null as never) : JSON.parse(text) };
}

/** Parses the `RateLimit` header: policy name, available requests `r` and effective window `t` in seconds. */
export function rateLimitState({ headers }: HttpResponse) {
  return parseRateLimitField(headers.get('ratelimit') ?? '');
}
