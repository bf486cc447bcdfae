import { pino } from 'pino';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { errorDefinitions } from '../../src/http/errors.ts';
import { LoadShedder } from '../../src/overload/load-shedder.ts';
import { Clock } from '../helpers/clock.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { exchangeBytes, get, parseResponses } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { deferredResponse, respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

let embedded: EmbeddedGateway;
let url: string;
beforeAll(async () => {
  embedded = await EmbeddedGateway.startOverloaded();
  url = embedded.gateway.url;
});
afterAll(() => embedded.stop());

test('every request gets the same 503, whatever its key, path or method, and none reaches the campaign service', async () => {
  const key = embedded.credentials;
  const responses = await Promise.all([
    get(url + campaignPath),
    get(url + campaignPath, key),
    get(url + campaignPath, { 'x-api-key': 'cgw_malformed' }),
    get(url + campaignPath, key, 'DELETE'),
    get(`${url}/nowhere`, key),
    get(`${url}/v1/accounts/a.b/campaigns/c`, key),
  ]);
  for (const { status, headers, body } of responses) {
    expect(status).toBe(503);
    expect(body).toEqual({
      success: false,
      data: null,
      error: {
        code: 'OVERLOADED',
        message: errorDefinitions.OVERLOADED.message,
        details: 'Retry after the delay given in Retry-After.',
      },
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(Object.fromEntries(headers)).toMatchObject({
      'x-trace-id': body.traceId,
      vary: 'X-API-Key, Authorization',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
      'retry-after': expect.stringMatching(/^[123]$/),
      date: expect.any(String),
    });
  }
  expect(embedded.upstream.requests).toEqual([]);
});

test('Retry-After is jittered', async () => {
  const responses = await Promise.all(Array.from({ length: 60 }, () => get(url)));
  expect(new Set(responses.map(({ headers }) => headers.get('retry-after')))).toEqual(new Set(['1', '2', '3']));
});

test('the connection stays open after a rejection, also with a small request body', async () => {
  const request = `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`;
  const bytes = `${request.repeat(5)}GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  const responses = parseResponses(await exchangeBytes(url, bytes));
  expect(responses.map(({ status, headers }) => [status, headers['connection']])).toEqual([
    ...Array.from({ length: 5 }, () => [503, 'keep-alive']),
    [503, 'close'],
  ]);
});

test.each([
  ['that asks for it', ['GET / HTTP/1.1', 'Host: a', 'Connection: close']],
  ['in HTTP/1.0', ['GET / HTTP/1.0']],
  ['with a chunked body', ['GET / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '0']],
  ['with Expect', ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 5', 'Expect: 100-continue']],
  ['with Upgrade', ['GET / HTTP/1.1', 'Host: a', 'Connection: upgrade', 'Upgrade: h2c']],
])('the connection closes after the rejection of a request %s', async (_title, lines) => {
  const text = await exchangeBytes(url, `${lines.join('\r\n')}\r\n\r\n`);
  expect(parseResponses(text)).toMatchObject([{ status: 503, headers: { connection: 'close' } }]);
});

test.each([
  ['malformed HTTP', 'NONSENSE', 400],
  ['a request without a Host header', 'GET / HTTP/1.1', 400],
  ['a body over the limit', 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000', 413],
])('%s gets its own error during overload too', async (_what, head, status) => {
  const text = await exchangeBytes(url, `${head}\r\n\r\n`, (received) => received.endsWith('"}'));
  expect(parseResponses(text)).toMatchObject([{ status, headers: { connection: 'close' } }]);
});

test('rejected requests share log lines with their trace ids, and a shutdown logs the last ones at once', async () => {
  const own = await EmbeddedGateway.startOverloaded();
  onTestFinished(() => own.stop());
  const responses = await Promise.all(Array.from({ length: 301 }, () => get(own.gateway.url)));
  await own.gateway.stop();
  const lines = own.gateway.log.filter(({ msg }) => msg === 'requests rejected');
  expect(lines[0]).toMatchObject({ level: 'warn', status: 503, code: 'OVERLOADED', reason: 'event_loop' });
  const batches = lines.map((line) => String(line['trace_ids']).split(' '));
  expect(lines.map((line) => line['rejected'])).toEqual(batches.map((traceIds) => traceIds.length));
  expect(Math.max(...batches.map((traceIds) => traceIds.length))).toBeLessThanOrEqual(250);
  expect(batches.flat().sort()).toEqual(responses.map(({ body }) => body.traceId).sort());
  expect(own.gateway.log.filter(({ msg }) => msg === 'request completed')).toEqual([]);
});

test('during overload a request that its client aborts makes room for another', async () => {
  const clock = new Clock();
  const log = pino({ level: 'silent' });
  const loadShedder = new LoadShedder({ log, maxInFlight: 4, eventLoopUtilization: () => 1, now: clock.now });
  const own = await EmbeddedGateway.start({ CACHE_TTL_MS: '0' }, { loadShedder });
  onTestFinished(() => own.stop());
  expect((await own.read()).status).toBe(200);

  const held = deferredResponse();
  own.upstream.respond = held;
  const clients = Array.from({ length: 7 }, () => new AbortController());
  const responses: Promise<Response | undefined>[] = [];
  for (const { signal } of clients) {
    const response = fetch(own.gateway.url + campaignPath, { headers: own.credentials, signal });
    responses.push(response.catch(() => undefined));
    await until(() => own.upstream.requests.length === 1 + responses.length);
    if (responses.length >= 4) clock.advance(100);
  }
  expect((await own.read()).status).toBe(503);

  own.upstream.respond = respondWithCampaign;
  for (const client of clients.slice(0, 4)) client.abort();
  await until(async () => (await own.read()).status === 200);
  held.open();
  for (const response of responses.slice(4)) expect((await response)?.status).toBe(200);
});
