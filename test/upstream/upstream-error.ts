import { expect } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import type { HttpResponse } from '../helpers/http.ts';
import { until } from '../helpers/wait.ts';

/** RFC 9209, section 2.3: what a program reads for each reason. */
const proxyStatus: Readonly<Record<FailureReason, RegExp>> = {
  dns: /^campaign-gateway; error=dns_error$/,
  connect: /^campaign-gateway; error=connection_refused$/,
  tls: /^campaign-gateway; error=tls_protocol_error$/,
  timeout: /^campaign-gateway; error=http_response_timeout$/,
  reset: /^campaign-gateway; error=connection_terminated$/,
  truncated: /^campaign-gateway; error=http_response_incomplete$/,
  status: /^campaign-gateway; received-status=\d{3}$/,
  too_large: /^campaign-gateway; error=http_response_body_size$/,
  not_json: /^campaign-gateway; error=http_protocol_error$/,
  invalid_document: /^campaign-gateway; error=http_protocol_error$/,
  circuit_open: /^campaign-gateway; error=destination_unavailable$/,
  overloaded: /^campaign-gateway; error=connection_limit_reached$/,
};

/** Expects a 502 with this reason in the envelope and the log, and without any text or address of the campaign service. */
export async function expectUpstreamError(
  { status, headers, body, text }: HttpResponse,
  reason: FailureReason,
  log: RunningGateway['log'],
): Promise<void> {
  const { code, details } = body.error ?? {};
  expect([status, code, details?.split(':')[0]]).toEqual([502, 'UPSTREAM_ERROR', reason]);
  expect(details).toMatch(/^[a-z_]+: [A-Za-z ,]+\.$/);
  expect(headers.get('proxy-status')).toMatch(proxyStatus[reason]);
  expect(text).not.toMatch(/127\.0\.0\.1|localhost|ECONN|secret|at \S+:\d+/);
  const line = await until(() =>
    log.find((entry) => entry['trace_id'] === body.traceId && entry.msg === 'request completed'),
  );
  expect(line).toMatchObject({ status: 502, code: 'UPSTREAM_ERROR', reason, level: 'warn' });
}
