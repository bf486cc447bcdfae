import { expect } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import type { RunningGateway } from './gateway.ts';
import type { HttpResponse } from './http.ts';
import { until } from './wait.ts';

/** Expects a 502 with this reason in the envelope and the log, and without any text or address of the campaign service. */
export async function expectUpstreamError(
  { status, body, text }: HttpResponse,
  reason: FailureReason,
  log: RunningGateway['log'],
): Promise<void> {
  const { code, details } = body.error ?? {};
  expect([status, code, details?.split(':')[0]]).toEqual([502, 'UPSTREAM_ERROR', reason]);
  expect(details).toMatch(/^[a-z_]+: [A-Za-z ,]+\.$/);
  expect(text).not.toMatch(/127\.0\.0\.1|localhost|ECONN|secret|at \S+:\d+/);
  const line = await until(() =>
    log.find((entry) => entry['trace_id'] === body.traceId && entry.msg === 'request completed'),
  );
  expect(line).toMatchObject({ status: 502, code: 'UPSTREAM_ERROR', reason, level: 'warn' });
}
