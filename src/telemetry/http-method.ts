import type { IncomingMessage } from 'node:http';

export const OTHER_METHOD = '_OTHER';

/** RFC 9110, section 9.1, and RFC 5789. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']);

/** The method as a telemetry attribute: unknown methods become `_OTHER`, so that clients cannot create series. */
export function telemetryMethod({ method = '' }: IncomingMessage): string {
  return METHODS.has(method) ? method : OTHER_METHOD;
}
