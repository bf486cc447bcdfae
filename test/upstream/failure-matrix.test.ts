import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { heapUsed } from '../helpers/heap.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
import { expectUpstreamError } from '../helpers/upstream-error.ts';
import { until } from '../helpers/wait.ts';
import { failingResponses, MAX_BODY_BYTES } from './failing-responses.ts';

const settings = {
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: String(MAX_BODY_BYTES),
  CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000',
  CAMPAIGN_SERVICE_RETRIES: '0',
  CACHE_TTL_MS: '60000',
  CACHE_STALE_WHILE_REVALIDATE_MS: '0',
  CACHE_STALE_IF_ERROR_MS: '600000',
  CACHE_MAX_BYTES: '100000',
};

/** For responses that must time out. All other responses use the gateway with the long timeout. */
let shortTimeout: EmbeddedGateway;
let longTimeout: EmbeddedGateway;
let baseline: number;

beforeAll(async () => {
  shortTimeout = await EmbeddedGateway.start({ ...settings, CAMPAIGN_SERVICE_TIMEOUT_MS: '400' });
  longTimeout = await EmbeddedGateway.start(settings);
  for (const embedded of [shortTimeout, longTimeout]) {
    await readSuccessfully(embedded, 'warm_up');
    await readSuccessfully(embedded, 'warm_up_2');
  }
  baseline = activeResources();
});
afterAll(() => Promise.all([shortTimeout.stop(), longTimeout.stop()]));

/** Timers and sockets of this process, which runs the gateways, the campaign services and the client. */
function activeResources(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'TCPSocketWrap').length;
}

const gatewayFor = (reason: FailureReason) => (reason === 'timeout' ? shortTimeout : longTimeout);
let campaigns = 0;

/** Reads until the response is a 200: on a loaded machine even a prompt response can miss the short timeout. */
async function readSuccessfully(embedded: EmbeddedGateway, id: string): Promise<void> {
  embedded.upstream.respond = respondWithCampaign;
  const { body } = await until(async () => {
    const response = await embedded.read(id);
    return response.status === 200 ? response : undefined;
  });
  expect(body.data?.['id']).toBe(id);
}

async function expectRecovery(embedded: EmbeddedGateway, id: string): Promise<void> {
  await readSuccessfully(embedded, id);
  await until(() => activeResources() <= baseline);
}

test.each(Object.entries(failingResponses))(
  'when the campaign service sends %s, the client gets a 502 with the reason, and the next request succeeds',
  async (_title, [respond, reason]) => {
    const embedded = gatewayFor(reason);
    const id = `cmp_${++campaigns}`;
    embedded.upstream.respond = respond;
    await expectUpstreamError(await embedded.read(id), reason, embedded.gateway.log);
    await expectRecovery(embedded, id);
  },
);

const oneForEachReason = [...new Map(Object.values(failingResponses).map((row) => [row[1], row])).values()];

test.each(oneForEachReason)(
  'a stale document is served with the reason in Cache-Status: %s %s',
  async (respond, reason) => {
    const embedded = gatewayFor(reason);
    const id = `cmp_${++campaigns}`;
    await readSuccessfully(embedded, id);
    embedded.clock.advance(100_000);
    embedded.upstream.respond = respond;
    const { status, body, headers } = await embedded.read(id);
    expect([status, body.data?.['id']]).toEqual([200, id]);
    const expected = new RegExp(`^campaign-gateway; fwd=stale; ttl=-\\d+; detail=${reason}$`);
    expect(headers.get('cache-status')).toMatch(expected);
    await expectRecovery(embedded, id);
  },
);

test('a fresh document is served without a request to the campaign service', async () => {
  const id = `cmp_${++campaigns}`;
  await readSuccessfully(longTimeout, id);
  const requestsBefore = longTimeout.upstream.requests.length;
  const { status, headers } = await longTimeout.read(id);
  expect([status, headers.get('cache-status')]).toEqual([200, expect.stringMatching(/; hit; ttl=\d+$/)]);
  expect(longTimeout.upstream.requests.length).toBe(requestsBefore);
});

test('repeated failures do not grow the heap', async () => {
  const responses = Object.values(failingResponses).filter(([, reason]) => reason !== 'timeout');
  const round = async () => {
    for (const [respond] of responses) {
      longTimeout.upstream.respond = respond;
      await longTimeout.read('failing');
    }
    longTimeout.upstream.requests.length = 0; // Recorded by the test itself.
    longTimeout.gateway.log.length = 0;
    return heapUsed();
  };
  for (let i = 0; i < 6; i++) await round(); // Until lazily created structures exist.
  const before = await round();
  for (let i = 0; i < 6; i++) await round();
  expect((await round()) - before).toBeLessThan(1_000_000);
  await until(() => activeResources() <= baseline);
});
