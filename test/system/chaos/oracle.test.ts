import { describe, expect, test } from 'vitest';
import type { InvalidationMode } from '../../../src/cache/entry.ts';
import { Campaigns } from './campaigns.ts';
import type { Client, Interval, Observation } from './observation.ts';
import { Oracle } from './oracle.ts';
import { Outages } from './outages.ts';
import { countOverAdmitted, countUnderAdmitted } from './rate-limit-oracle.ts';

// An oracle that accepts everything would go unnoticed, so each of its rules is tested with a response that breaks it.

const client: Client = { address: '127.0.0.10', key: 'a key', hasValidKey: true };
const traceId = 'a'.repeat(32);
const tag = (name: string) => `"${name.padEnd(27, '0')}"`;

const data = {
  ...{ id: 'cmp_1', status: 'draft', description: null, outreachLanguage: null, selectedLeadCount: 1 },
  ...{ includeConversationHistory: true, autoCancelOnMessageReceived: true, startedAt: null, rateLimitedUntil: null },
  ...{ createdAt: '2026-01-01T00:00:00Z', updatedAt: '2026-01-01T00:00:00Z' },
};

interface Options extends Partial<Omit<Observation, 'header' | 'text'>> {
  /** The version in the body. */
  readonly version?: number;
  readonly etag?: string;
  readonly details?: string;
  readonly cacheStatus?: string;
}

function observe({ version, details = 'status: a', cacheStatus, ...overrides }: Options): Observation {
  const { status = 200, etag = version === undefined ? undefined : tag(`v${version}`) } = overrides;
  const headers: Record<string, string | undefined> = {
    ...{ 'x-trace-id': traceId, vary: 'X-API-Key', 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' },
    ...{ 'content-type': 'application/json; charset=utf-8', 'www-authenticate': 'Bearer', allow: 'GET, HEAD' },
    ...{ 'retry-after': '1', etag, 'cache-status': cacheStatus },
  };
  const envelope =
    status === 200
      ? { success: true, data: { ...data, name: `v${version}` }, error: null, traceId }
      : { success: false, data: null, error: { code: codes[status], message: 'a', details }, traceId };
  return {
    ...{ client, method: 'GET', path: '/v1/accounts/ag_1/campaigns/cmp_1', sentAt: 10_000, receivedAt: 10_010, status },
    ...overrides,
    header: (name) => headers[name.toLowerCase()] ?? null,
    text: status === 304 ? '' : JSON.stringify(envelope),
  };
}

const codes: Readonly<Record<number, string>> = {
  ...{ 400: 'VALIDATION_ERROR', 401: 'UNAUTHORIZED', 403: 'FORBIDDEN', 404: 'NOT_FOUND', 405: 'METHOD_NOT_ALLOWED' },
  ...{ 429: 'RATE_LIMITED', 500: 'INTERNAL_ERROR', 502: 'UPSTREAM_ERROR' },
};

const revocations = new Map<string, Interval>([['revoked', { from: 9000, to: 9500 }]]);

/** Each campaign changed to version 1 at 5000, and its event was accepted at 8000. */
async function findViolation(
  options: Options,
  log: Record<string, unknown>[] = [],
  mode: InvalidationMode = 'hard',
): Promise<string | undefined> {
  let now = 5000;
  const campaigns = new Campaigns(() => now);
  const ids = ['cmp_1', 'flip_1', 'flaky_1'].map((id) => `ag_1/${id}`);
  await campaigns.change(ids, mode, async () => {
    now = 8000;
  });
  const outages = new Outages([{ url: 'a', log }]);
  const observed = observe(options);
  const earlier = [observe({ version: 0 }), observe({ version: 1 })];
  return new Oracle({ campaigns, revocations, outages }, [...earlier, observed]).findViolation(observed);
}

const at = (path: string) => ({ path: `/v1/accounts/${path}` });
const revoked = { ...client, key: 'revoked' };
const forged = { ...client, hasValidKey: false };
const limited = { ...client, limit: { name: 'default', quota: 5, windowMs: 1000, burst: 5 } };
const early = { sentAt: 8500, receivedAt: 8510 };

describe('the oracle', () => {
  test.each<[string, Options]>([
    ['the current version', { version: 1 }],
    ['the previous version within a second of the purge', { version: 0, ...early }],
    ['a 304 for the current entity tag', { status: 304, etag: tag('v1'), ifNoneMatch: tag('v1') }],
    ['a HEAD response without a body', { method: 'HEAD', etag: tag('v1') }],
    ['an entity tag that no body has had', { method: 'HEAD', etag: tag('v1'), ...at('ag_1/campaigns/cmp_2') }],
    ['a 404 for a missing campaign', { status: 404, ...at('ag_1/campaigns/flip_1') }],
    ['a 502 for a failing campaign', { status: 502, ...at('ag_1/campaigns/flaky_1') }],
    ['a 401 for a forged key', { status: 401, client: forged }],
    ['a 401 for a revoked key', { status: 401, client: revoked }],
    ['a 200 while the key is being revoked', { version: 1, client: revoked, sentAt: 9200, receivedAt: 9600 }],
    ['a 429 for a limited key', { status: 429, client: limited }],
  ])('accepts %s', async (_what, options) => {
    expect(await findViolation(options)).toBeUndefined();
  });

  test.each<[string, Options]>([
    ['a purged version', { version: 0 }],
    ['a 304 for a purged version', { status: 304, etag: tag('v0'), ifNoneMatch: tag('v0') }],
    ['a HEAD of a purged version', { method: 'HEAD', etag: tag('v0') }],
    ['a version that never existed', { version: 2 }],
    ['a version with the entity tag of another', { version: 1, etag: tag('v0') }],
    ['an entity tag of no document', { method: 'HEAD', etag: tag('v9') }],
    ['a HEAD of a missing campaign', { method: 'HEAD', etag: tag('v1'), ...at('ag_1/campaigns/flip_1') }],
    ['a 304 for another entity tag', { status: 304, etag: tag('v1'), ifNoneMatch: tag('v0') }],
    ['a 304 for an unconditional request', { status: 304, etag: tag('v1') }],
    ['a 200 for a matching If-None-Match', { version: 1, ifNoneMatch: tag('v1') }],
    ['a 200 for a missing campaign', { version: 1, ...at('ag_1/campaigns/flip_1') }],
    ['another campaign', { version: 0, ...at('ag_1/campaigns/cmp_2') }],
    ['a 404 for an existing campaign', { status: 404 }],
    ['a 502 for a working campaign', { status: 502 }],
    ['a 502 with another reason', { status: 502, details: 'reset: a', ...at('ag_1/campaigns/flaky_1') }],
    ['a 500', { status: 500 }],
    ['a 200 for a forged key', { version: 1, client: forged }],
    ['a 200 for a revoked key', { version: 1, client: revoked }],
    ['a 403 for a revoked key', { status: 403, client: revoked, ...at('ag_9/campaigns/cmp_1') }],
    ['a 401 for a valid key', { status: 401 }],
    ['a 401 before the key is revoked', { status: 401, client: revoked, ...early }],
    ['a 429 for an unlimited key', { status: 429 }],
    ['a 200 in a foreign account group', { version: 1, ...at('ag_9/campaigns/cmp_1') }],
    ['a 404 in a foreign account group', { status: 404, ...at('ag_9/campaigns/cmp_9') }],
    ['a 404 for a malformed path', { status: 404, ...at('ag_1/campaigns/cmp%2F1') }],
    ['a 200 for an unsupported method', { version: 1, method: 'DELETE' }],
    ['a 200 for an unmatched route', { version: 1, path: '/v1/nowhere' }],
  ])('reports %s', async (_what, options) => {
    expect(await findViolation(options)).toEqual(expect.any(String));
  });

  test('accepts a version before a soft event only if Cache-Status reports it as stale', async () => {
    const find = (cacheStatus: string, mode: InvalidationMode) => findViolation({ version: 0, cacheStatus }, [], mode);
    expect(await find('campaign-gateway; hit; ttl=-1', 'soft')).toBeUndefined();
    expect(await find('campaign-gateway; hit; ttl=1', 'soft')).toEqual(expect.any(String));
    expect(await find('campaign-gateway; hit; ttl=-1', 'hard')).toEqual(expect.any(String));
  });

  const redisLine = (state: string, ms: number) => ({ dependency: 'redis', state, time: new Date(ms).toISOString() });
  const handled = { trace_id: traceId };
  const outage = [redisLine('down', 9000), redisLine('up', 9500), handled];

  test.each<[string, Options]>([
    ['a purged version', { version: 0 }],
    ['a 200 for a revoked key', { version: 1, client: revoked }],
    ['a 500', { status: 500 }],
    ['a 502', { status: 502, details: 'timeout: a' }],
  ])('accepts %s only from a gateway without Redis', async (_what, options) => {
    expect(await findViolation(options, outage)).toBeUndefined();
    const earlierOutage = [redisLine('down', 8000), redisLine('up', 8900), handled];
    expect(await findViolation(options, earlierOutage)).toEqual(expect.any(String));
    const otherGateway = [redisLine('down', 9000), redisLine('up', 9500)];
    expect(await findViolation(options, otherGateway)).toEqual(expect.any(String));
  });

  test.each<[string, Options]>([
    ['a version that never existed', { version: 2 }],
    ['a 200 for a forged key', { version: 1, client: forged }],
    ['a 200 in a foreign account group', { version: 1, ...at('ag_9/campaigns/cmp_1') }],
  ])('reports %s even from a gateway without Redis', async (_what, options) => {
    expect(await findViolation(options, outage)).toEqual(expect.any(String));
  });
});

describe('the rate limit oracle', () => {
  const limit = { name: 'default', quota: 3, windowMs: 1000, burst: 3 };
  const responses = (...list: [status: number, sentAt: number][]) =>
    list.map(([status, sentAt]) => observe({ status, sentAt, receivedAt: sentAt + 10, client: limited, version: 0 }));
  const undisturbed = { outages: [], kills: [] };

  test('reports a request beyond the quota and the refilled tokens', () => {
    const quota = responses([200, 0], [200, 0], [200, 0]);
    expect(countOverAdmitted([...quota, ...responses([200, 400])], limit, undisturbed)).toBe(0);
    expect(countOverAdmitted([...quota, ...responses([200, 100])], limit, undisturbed)).toBe(1);
    const afterIdle = [...responses([200, -5000]), ...quota, ...responses([200, 100])];
    expect(countOverAdmitted(afterIdle, limit, undisturbed)).toBe(1);
    expect(countOverAdmitted([...quota, ...responses([429, 100])], limit, undisturbed)).toBe(0);
  });

  test('skips windows with an outage, but not those before and after it', () => {
    const four = (sentAt: number) => responses([200, sentAt], [200, sentAt], [200, sentAt], [200, sentAt]);
    const disturbed = { outages: [{ from: 1000, to: 1100 }], kills: [] };
    expect(countOverAdmitted(four(1050), limit, disturbed)).toBe(0);
    expect(countOverAdmitted([...four(900).slice(2), ...four(5000).slice(1)], limit, disturbed)).toBe(0);
    expect(countOverAdmitted(four(900), limit, disturbed)).toBe(1);
    expect(countOverAdmitted(four(5000), limit, disturbed)).toBe(1);
  });

  test('reports a rejection below the quota, except for requests that a killed gateway may have counted', () => {
    const two = responses([200, 0], [200, 20], [429, 40]);
    expect(countUnderAdmitted(responses([200, 0], [200, 0], [200, 0], [429, 40]), limit, undisturbed)).toBe(0);
    expect(countUnderAdmitted(two, limit, undisturbed)).toBe(1);
    expect(countUnderAdmitted(two, limit, { ...undisturbed, kills: [{ from: 25, to: 26 }] })).toBe(0);
    expect(countUnderAdmitted(two, limit, { ...undisturbed, kills: [{ from: 60, to: 61 }] })).toBe(1);
  });
});
