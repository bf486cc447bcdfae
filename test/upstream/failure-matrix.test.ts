import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { heapUsed } from '../helpers/heap.ts';
import type { HttpResponse } from '../helpers/http.ts';
import { campaignDocument, respondWithBody, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { failingResponses, MAX_BODY_BYTES } from './failing-responses.ts';

/**
 * Each way to fail, for a campaign that nobody has read, for one that is stale, and for one that is fresh in the cache.
 * Fresh for a minute; stale only while the campaign service fails.
 */
const TIMEOUT_MS = 400;
/** Far more than any cell needs, and far less than a promise broken would take. */
const SLOW_MACHINE_MS = 10_000;

let embedded: EmbeddedGateway;
let resources: number;

beforeAll(async () => {
  embedded = await EmbeddedGateway.start({
    CAMPAIGN_SERVICE_TIMEOUT_MS: String(TIMEOUT_MS),
    CAMPAIGN_SERVICE_MAX_BODY_BYTES: String(MAX_BODY_BYTES),
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000',
    CAMPAIGN_SERVICE_RETRIES: '0',
    CACHE_TTL_MS: '60000',
    CACHE_STALE_WHILE_REVALIDATE_MS: '0',
    CACHE_STALE_IF_ERROR_MS: '600000',
    CACHE_MAX_BYTES: '100000',
  });
  await embedded.read('warm');
  await embedded.read('warmer');
  resources = heldResources();
});
afterAll(() => embedded.stop());

/** Timers and sockets of this process: the gateway's, the campaign service's and the client's. */
function heldResources(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'TCPSocketWrap').length;
}

const status = ({ headers }: HttpResponse) => headers.get('cache-status')?.replace('campaign-gateway; ', '');
const asked = () => embedded.upstream.requests.length;
let campaigns = 0;

/** What has to be so after each cell: the campaign can be read at once, and nothing is left of what failed. */
async function expectRecovery(id: string): Promise<void> {
  embedded.upstream.answer = respondWithCampaign;
  const { status: code, body } = await embedded.read(id);
  expect([code, body.data?.['id']]).toEqual([200, id]);
  await until(() => heldResources() <= resources);
}

const cells = {
  async cold(id: string, reason: FailureReason): Promise<void> {
    const { status: code, body, text } = await embedded.read(id);
    expect([code, body.error?.code, body.error?.details.split(':')[0]]).toEqual([502, 'UPSTREAM_ERROR', reason]);
    expect(body.error?.details).toMatch(/^[a-z_]+: [A-Za-z ,]+\.$/);
    expect(text).not.toMatch(/127\.0\.0\.1|localhost|ECONN|secret|at \S+:\d+/);
    const { log } = embedded.gateway;
    const line = await until(() =>
      log.find((entry) => entry['trace_id'] === body.traceId && entry.msg === 'request completed'),
    );
    expect(line).toMatchObject({ status: 502, code: 'UPSTREAM_ERROR', reason, level: 'warn' });
  },
  async stale(id: string, reason: FailureReason): Promise<void> {
    const answer = await embedded.read(id);
    expect([answer.status, answer.body.data?.['id']]).toEqual([200, id]);
    expect(status(answer)).toMatch(new RegExp(`^fwd=stale; ttl=-\\d+; detail=${reason}$`));
  },
  async cached(id: string): Promise<void> {
    const before = asked();
    const answer = await embedded.read(id);
    expect([answer.status, status(answer)]).toEqual([200, expect.stringMatching(/^hit; ttl=\d+$/)]);
    expect(asked()).toBe(before);
  },
};

describe.each(Object.keys(failingResponses))('%s', (how) => {
  test.each(Object.keys(cells) as (keyof typeof cells)[])('%s', async (state) => {
    const [answer, reason] = failingResponses[how] as (typeof failingResponses)[string];
    const id = `cmp_${++campaigns}`;
    embedded.upstream.answer = respondWithCampaign;
    if (state !== 'cold') await embedded.read(id);
    if (state === 'stale') embedded.clock.advance(100_000);
    embedded.upstream.answer = answer;
    const startedAt = performance.now();
    await cells[state](id, reason);
    expect(performance.now() - startedAt).toBeLessThan(TIMEOUT_MS + SLOW_MACHINE_MS);
    await expectRecovery(id);
  });
});

test('however often they fail, memory does not grow', async () => {
  const quick = Object.values(failingResponses).filter(([, reason]) => reason !== 'timeout');
  const round = async () => {
    for (const [answer] of quick) {
      embedded.upstream.answer = answer;
      await embedded.read('cold');
    }
    embedded.upstream.requests.length = 0; // The test's own notes.
    embedded.gateway.log.length = 0;
    return heapUsed();
  };
  for (let i = 0; i < 15; i++) await round(); // Until everything has its size.
  const before = await round();
  for (let i = 0; i < 20; i++) await round();
  expect((await round()) - before).toBeLessThan(1_000_000);
  await until(() => heldResources() <= resources);
});

describe('a coding that was not asked for is undone', () => {
  test.each<[string, (text: string) => Buffer]>([
    ['gzip', gzipSync],
    ['X-GZIP', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
    ['identity', Buffer.from],
    ['gzip, identity', gzipSync],
  ])('%s', async (coding, encode) => {
    const id = `cmp_${++campaigns}`;
    const document = JSON.stringify(campaignDocument(id, 'ag_1'));
    embedded.upstream.answer = respondWithBody(encode(document), 200, { 'content-encoding': coding });
    const { status: code, body } = await embedded.read(id);
    expect([code, body.data?.['name']]).toEqual([200, 'Spring outreach']);
  });

  test('up to the limit, and not a byte beyond', async () => {
    const read = async (bytes: number) => {
      const id = `cmp_${++campaigns}`;
      const document = JSON.stringify(campaignDocument(id, 'ag_1')).padEnd(bytes);
      embedded.upstream.answer = respondWithBody(gzipSync(document), 200, { 'content-encoding': 'gzip' });
      return (await embedded.read(id)).status;
    };
    expect([await read(MAX_BODY_BYTES), await read(MAX_BODY_BYTES + 1)]).toEqual([200, 502]);
  });
});

test('of a name that stands there twice the last one counts, for what is checked and for what is answered', async () => {
  const id = `cmp_${++campaigns}`;
  const document = JSON.stringify(campaignDocument(id, 'ag_1'));
  const twice = (field: string) => respondWithBody(document.replace(/\}$/, `,${field}}`));
  embedded.upstream.answer = twice('"accountGroupId":"ag_2"');
  expect((await embedded.read(id)).status).toBe(404);
  const other = `cmp_${++campaigns}`;
  embedded.upstream.answer = respondWithBody(
    JSON.stringify(campaignDocument(other, 'ag_1')).replace(/\}$/, ',"name":"the last"}'),
  );
  expect((await embedded.read(other)).body.data?.['name']).toBe('the last');
});
