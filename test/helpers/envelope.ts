import { expect } from 'vitest';
import { type ErrorCode, errorDefinitions } from '../../src/http/errors.ts';
import type { HttpResponse } from './http.ts';

/** Expects the error envelope, status and headers of this error code. */
export function expectError(response: HttpResponse, code: ErrorCode): void {
  expect(response.status).toBe(errorDefinitions[code].status);
  expect(response.body).toEqual({
    success: false,
    data: null,
    error: { code, message: errorDefinitions[code].message, details: expect.any(String) },
    traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
  });
  expectCommonHeaders(response);
  // RFC 9111, section 4.2.2: without it a cache may store a 404.
  expect(response.headers.get('cache-control')).toBe('no-store');
}

/** Expects the headers that every response with a body has, and none that the gateway must not send. */
export function expectCommonHeaders({ headers, body }: HttpResponse): void {
  expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(headers.get('vary')).toBe('X-API-Key, Authorization');
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  expect(headers.get('x-trace-id')).toBe(body.traceId);
  for (const name of ['x-powered-by', 'server', 'set-cookie']) expect(headers.has(name)).toBe(false);
}
