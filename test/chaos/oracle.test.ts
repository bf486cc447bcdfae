import { describe, expect, test } from 'vitest';
import { Campaigns } from './campaigns.ts';
import type { Client, Interval, Observation } from './observation.ts';
import { Judge } from './oracle.ts';
import { Trouble } from './outages.ts';
import { admittedTooFew, admittedTooMany } from './rate-limit-oracle.ts';

// A judge who lets everything pass would make nobody suspicious: each of his rules, with an answer that breaks it.

const client: Client = { address: '127.0.0.10', key: 'a key', isKnown: true };
const traceId = 'a'.repeat(32);
const tag = (name: string) => `"${name.padEnd(27, '0')}"`;

const data = {
  ...{ id: 'cmp_1', status: 'draft', description: null, outreachLanguage: null, selectedLeadCount: 1 },
  ...{ includeConversationHistory: true, autoCancelOnMessageReceived: true, startedAt: null, rateLimitedUntil: null },
  ...{ createdAt: '2026-01-01T00:00:00Z', updatedAt: '2026-01-01T00:00:00Z' },
};

interface Said extends Partial<Omit<Observation, 'header' | 'text'>> {
  /** The version in the body. */
  readonly version?: number;
  readonly etag?: string;
  readonly details?: string;
}

function observe({ version, details = 'status: a', ...said }: Said): Observation {
  const { status = 200, etag = version === undefined ? undefined : tag(`v${version}`) } = said;
  const headers: Record<string, string | undefined> = {
    ...{ 'x-trace-id': traceId, vary: 'X-API-Key', 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' },
    ...{ 'content-type': 'application/json; charset=utf-8', 'www-authenticate': 'Bearer', allow: 'GET, HEAD' },
    ...{ 'retry-after': '1', etag },
  };
  const envelope =
    status === 200
      ? { success: true, data: { ...data, name: `v${version}` }, error: null, traceId }
      : { success: false, data: null, error: { code: codes[status], message: 'a', details }, traceId };
  return {
    ...{ client, method: 'GET', path: '/v1/accounts/ag_1/campaigns/cmp_1', sentAt: 10_000, answeredAt: 10_010, status },
    ...said,
    header: (name) => headers[name.toLowerCase()] ?? null,
    text: status === 304 ? '' : JSON.stringify(envelope),
  };
}

const codes: Readonly<Record<number, string>> = {
  ...{ 400: 'VALIDATION_ERROR', 401: 'UNAUTHORIZED', 403: 'FORBIDDEN', 404: 'NOT_FOUND', 405: 'METHOD_NOT_ALLOWED' },
  ...{ 429: 'RATE_LIMITED', 500: 'INTERNAL_ERROR', 502: 'UPSTREAM_ERROR' },
};

const revocations = new Map<string, Interval>([['revoked', { from: 9000, to: 9500 }]]);

/** Each campaign has had version 1 since 5000, and has been purged since 8000. */
async function faultOf(said: Said, log: Record<string, unknown>[] = []): Promise<string | undefined> {
  let now = 5000;
  const campaigns = new Campaigns(() => now);
  const kinds = ['cmp_1', 'flip_1', 'ill_1'].map((id) => `ag_1/${id}`);
  await campaigns.change(kinds, async () => {
    now = 8000;
  });
  const trouble = new Trouble([{ url: 'a', log }]);
  const observed = observe(said);
  const known = [observe({ version: 0 }), observe({ version: 1 })];
  return new Judge({ campaigns, revocations, trouble }, [...known, observed]).fault(observed);
}

const at = (path: string) => ({ path: `/v1/accounts/${path}` });
const revoked = { ...client, key: 'revoked' };
const unknown = { ...client, isKnown: false };
const limited = { ...client, limit: { name: 'default', quota: 5, windowMs: 1000 } };
const early = { sentAt: 8500, answeredAt: 8510 };

describe('the judge of the mixed load', () => {
  test.each<[string, Said]>([
    ['the campaign', { version: 1 }],
    ['what it was, within a second of a purge', { version: 0, ...early }],
    ['that it has not changed', { status: 304, etag: tag('v1'), ifNoneMatch: tag('v1') }],
    ['no body to a HEAD', { method: 'HEAD', etag: tag('v1') }],
    ['a tag of what no body has shown', { method: 'HEAD', etag: tag('v1'), ...at('ag_1/campaigns/cmp_2') }],
    ['that a campaign has gone', { status: 404, ...at('ag_1/campaigns/flip_1') }],
    ['that the campaign service is ill', { status: 502, ...at('ag_1/campaigns/ill_1') }],
    ['a refusal of a key that is not known', { status: 401, client: unknown }],
    ['a refusal of a key that is revoked', { status: 401, client: revoked }],
    ['a campaign while its key is being revoked', { version: 1, client: revoked, sentAt: 9200, answeredAt: 9600 }],
    ['a refusal for a limit', { status: 429, client: limited }],
  ])('takes %s', async (_what, said) => {
    expect(await faultOf(said)).toBeUndefined();
  });

  test.each<[string, Said]>([
    ['what it was before a purge', { version: 0 }],
    ['that it has not changed since a purge', { status: 304, etag: tag('v0'), ifNoneMatch: tag('v0') }],
    ['a HEAD of what it was before a purge', { method: 'HEAD', etag: tag('v0') }],
    ['what nobody has ever had', { version: 2 }],
    ['a version under the tag of another', { version: 1, etag: tag('v0') }],
    ['a tag of no document', { method: 'HEAD', etag: tag('v9') }],
    ['a tag of what has gone', { method: 'HEAD', etag: tag('v1'), ...at('ag_1/campaigns/flip_1') }],
    ['a 304 for another tag', { status: 304, etag: tag('v1'), ifNoneMatch: tag('v0') }],
    ['a 304 that nobody asked for', { status: 304, etag: tag('v1') }],
    ['all of what the client has', { version: 1, ifNoneMatch: tag('v1') }],
    ['a campaign that has gone', { version: 1, ...at('ag_1/campaigns/flip_1') }],
    ['another campaign', { version: 0, ...at('ag_1/campaigns/cmp_2') }],
    ['that a campaign has gone that is there', { status: 404 }],
    ['that the campaign service is ill when it is well', { status: 502 }],
    ['another failure than its own', { status: 502, details: 'reset: a', ...at('ag_1/campaigns/ill_1') }],
    ['a fault of its own', { status: 500 }],
    ['a campaign to a key that is not known', { version: 1, client: unknown }],
    ['a campaign to a key that is revoked', { version: 1, client: revoked }],
    ['what is no campaign to a key that is revoked', { status: 403, client: revoked, ...at('ag_9/campaigns/cmp_1') }],
    ['a refusal of a valid key', { status: 401 }],
    ['a refusal of a key before it is revoked', { status: 401, client: revoked, ...early }],
    ['a refusal for a limit below it', { status: 429 }],
    ['a campaign of a foreign account group', { version: 1, ...at('ag_9/campaigns/cmp_1') }],
    ['that there is none in a foreign account group', { status: 404, ...at('ag_9/campaigns/cmp_9') }],
    ['that there is none where the path is malformed', { status: 404, ...at('ag_1/campaigns/cmp%2F1') }],
    ['a method that is not there', { version: 1, method: 'DELETE' }],
    ['a path that is not there', { version: 1, path: '/v1/nowhere' }],
  ])('does not take %s', async (_what, said) => {
    expect(await faultOf(said)).toEqual(expect.any(String));
  });

  const line = (state: string, ms: number) => ({ dependency: 'redis', state, time: new Date(ms).toISOString() });
  const served = { trace_id: traceId };
  const away = [line('down', 9000), line('up', 9500), served];

  test.each<[string, Said]>([
    ['what it was before a purge', { version: 0 }],
    ['a campaign to a key that is revoked', { version: 1, client: revoked }],
    ['a fault', { status: 500 }],
    ['a failure', { status: 502, details: 'timeout: a' }],
  ])('takes %s from a gateway that had no Redis, and only then', async (_what, said) => {
    expect(await faultOf(said, away)).toBeUndefined();
    expect(await faultOf(said, [line('down', 8000), line('up', 8900), served])).toEqual(expect.any(String));
    expect(await faultOf(said, [line('down', 9000), line('up', 9500)])).toEqual(expect.any(String));
  });

  test.each<[string, Said]>([
    ['what nobody has ever had', { version: 2 }],
    ['a campaign to a key that is not known', { version: 1, client: unknown }],
    ['a campaign of a foreign account group', { version: 1, ...at('ag_9/campaigns/cmp_1') }],
  ])('does not take %s from it either', async (_what, said) => {
    expect(await faultOf(said, away)).toEqual(expect.any(String));
  });
});

describe('admissions', () => {
  const limit = { name: 'default', quota: 3, windowMs: 1000 };
  const answers = (...list: [status: number, sentAt: number][]) =>
    list.map(([status, sentAt]) => observe({ status, sentAt, answeredAt: sentAt + 10, client: limited, version: 0 }));
  const calm = { troubles: [], kills: [] };

  test('a quota at once and what comes back are not too many, one more is', () => {
    const quota = answers([200, 0], [200, 0], [200, 0]);
    expect(admittedTooMany([...quota, ...answers([200, 400])], limit, calm)).toBe(0);
    expect(admittedTooMany([...quota, ...answers([200, 100])], limit, calm)).toBe(1);
    expect(admittedTooMany([...answers([200, -5000]), ...quota, ...answers([200, 100])], limit, calm)).toBe(1);
    expect(admittedTooMany([...quota, ...answers([429, 100])], limit, calm)).toBe(0);
  });

  test('a window in which a gateway had no Redis does not count, one behind it does', () => {
    const four = (sentAt: number) => answers([200, sentAt], [200, sentAt], [200, sentAt], [200, sentAt]);
    const disturbed = { troubles: [{ from: 1000, to: 1100 }], kills: [] };
    expect(admittedTooMany(four(1050), limit, disturbed)).toBe(0);
    expect(admittedTooMany([...four(900).slice(2), ...four(5000).slice(1)], limit, disturbed)).toBe(0);
    expect(admittedTooMany(four(900), limit, disturbed)).toBe(1);
    expect(admittedTooMany(four(5000), limit, disturbed)).toBe(1);
  });

  test('a refusal before the quota is used up is too few, but for what a killed process may have counted', () => {
    const two = answers([200, 0], [200, 20], [429, 40]);
    expect(admittedTooFew(answers([200, 0], [200, 0], [200, 0], [429, 40]), limit, calm)).toBe(0);
    expect(admittedTooFew(two, limit, calm)).toBe(1);
    expect(admittedTooFew(two, limit, { ...calm, kills: [{ from: 25, to: 26 }] })).toBe(0);
    expect(admittedTooFew(two, limit, { ...calm, kills: [{ from: 60, to: 61 }] })).toBe(1);
  });
});
