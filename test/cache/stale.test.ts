import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { campaignDocument, type Responder, respondWithBody } from '../helpers/upstream.ts';

let embedded: EmbeddedGateway;
beforeAll(async () => {
  embedded = await EmbeddedGateway.start({
    CACHE_TTL_MS: '60000',
    CACHE_STALE_WHILE_REVALIDATE_MS: '60000',
    CACHE_STALE_IF_ERROR_MS: '600000',
    CAMPAIGN_SERVICE_RETRIES: '0',
    CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000',
  });
});
afterAll(() => embedded.stop());

const failWithStatus = respondWithBody('{}', 500);
let campaigns = 0;

/** Reads a new campaign, advances the clock, and reads it again while the campaign service fails. */
async function readStale(seconds: number, cacheControl?: string, failure: Responder = failWithStatus) {
  const id = `cmp_${++campaigns}`;
  const headers = cacheControl === undefined ? {} : { 'cache-control': cacheControl };
  embedded.upstream.respond = respondWithBody(JSON.stringify(campaignDocument(id)), 200, headers);
  await embedded.read(id);
  embedded.upstream.respond = failure;
  embedded.clock.advance(seconds * 1000);
  const response = await embedded.read(id);
  const cacheStatus = response.headers.get('cache-status')?.replace('campaign-gateway; ', '');
  return { status: response.status, cacheStatus, age: response.headers.get('age') };
}

const failures: [what: string, reason: string, failure: Responder][] = [
  ['a 500', 'status', failWithStatus],
  ['a 503', 'status', respondWithBody('{}', 503)],
  ['a closed connection', 'reset', (_request, response) => response.destroy()],
  [
    'a truncated response',
    'truncated',
    (_request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('{', () => response.destroy());
    },
  ],
  ['an invalid document', 'invalid_document', respondWithBody('{"id":"x"}')],
];

test.each(failures)(
  'when the campaign service fails with %s, the stale campaign is served with its age and the reason "%s"',
  async (_what, reason, failure) => {
    expect(await readStale(150, undefined, failure)).toEqual({
      status: 200,
      cacheStatus: expect.stringMatching(new RegExp(`^fwd=stale; ttl=-9[0-6]; detail=${reason}$`)),
      age: '150',
    });
  },
);

test('a stale campaign is served at once during stale-while-revalidate, and never after the last stale window', async () => {
  const revalidated = { status: 200, cacheStatus: expect.stringMatching(/^hit; ttl=-1\d$/) };
  expect(await readStale(70)).toMatchObject(revalidated);
  expect(await readStale(650)).toMatchObject({ status: 200 });
  expect(await readStale(660)).toEqual({ status: 502, cacheStatus: 'fwd=stale', age: null });
});

test('Cache-Control of the campaign service shortens the stale windows', async () => {
  expect((await readStale(11, 'max-age=10')).status).toBe(200);
  expect((await readStale(11, 'max-age=10, must-revalidate')).status).toBe(502);
  expect((await readStale(31, 'max-age=10, stale-while-revalidate=0, stale-if-error=20')).status).toBe(502);
});

test('without stale-while-revalidate the reader waits for the campaign service before it gets a stale campaign', async () => {
  expect(await readStale(11, 'max-age=10, stale-while-revalidate=0')).toMatchObject({
    status: 200,
    cacheStatus: expect.stringMatching(/^fwd=stale; ttl=-\d; detail=status$/),
  });
});
