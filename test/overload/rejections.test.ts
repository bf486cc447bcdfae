import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type EmbeddedGateway, startEmbeddedGateway, startOverloadedGateway } from '../helpers/embedded-gateway.ts';
import { expectError } from '../helpers/envelope.ts';
import { exchangeBytes, get } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let embedded: EmbeddedGateway;
let url: string;
beforeAll(async () => {
  embedded = await startOverloadedGateway();
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
  for (const response of responses) {
    expectError(response, 'OVERLOADED');
    expect(response.body.error?.details).toBe('Retry after the delay given in Retry-After.');
    expect(response.headers.get('retry-after')).toMatch(/^[123]$/);
    expect(response.headers.has('date')).toBe(true);
  }
  expect(embedded.upstream.requests).toEqual([]);
});

test('the connection stays open after a rejection, also with a small request body', async () => {
  const request = `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`;
  const bytes = `${request.repeat(5)}GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  const responses = await exchangeBytes(url, bytes);
  expect(responses.map(({ status, headers }) => [status, headers['connection']])).toEqual([
    ...Array.from({ length: 5 }, () => [503, 'keep-alive']),
    [503, 'close'],
  ]);
});

test.each([
  ['HTTP/1.0', ['GET / HTTP/1.0'], 503],
  ['a chunked body', ['GET / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '0'], 503],
  ['Expect', ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 5', 'Expect: 100-continue'], 503],
  ['Upgrade', ['GET / HTTP/1.1', 'Host: a', 'Connection: upgrade', 'Upgrade: h2c'], 503],
  ['malformed HTTP, which gets its own error', ['NONSENSE'], 400],
  ['a body over the limit, which gets its own error', ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 70000'], 413],
])('during overload the connection closes after %s', async (_what, lines, status) => {
  // The server waits some time for a body that it does not read.
  const isComplete = (received: string) => status === 413 && received.endsWith('"}');
  const responses = await exchangeBytes(url, `${lines.join('\r\n')}\r\n\r\n`, isComplete);
  expect(responses).toMatchObject([{ status, headers: { connection: 'close' } }]);
});

test('rejected requests have a jittered Retry-After and share log lines with their trace ids, also at a shutdown', async () => {
  const own = await startOverloadedGateway();
  onTestFinished(() => own.stop());
  const responses = await Promise.all(Array.from({ length: 301 }, () => get(own.gateway.url)));
  expect(new Set(responses.map(({ headers }) => headers.get('retry-after')))).toEqual(new Set(['1', '2', '3']));
  await own.gateway.stop();
  const lines = own.gateway.log.filter(({ status }) => status === 503);
  const batches = lines.map((line) => String(line['trace_ids']).split(' '));
  expect(batches.flat().sort()).toEqual(responses.map(({ body }) => body.traceId).sort());
  expect(Math.max(...batches.map(({ length }) => length))).toBeLessThanOrEqual(250);
  const summary = { msg: 'requests rejected', level: 'warn', code: 'OVERLOADED', reason: 'event_loop' };
  expect(lines).toMatchObject(batches.map(({ length }) => ({ ...summary, rejected: length })));
});

test('each request is released once, also if its client aborts it, and a cached read is no miss', async () => {
  const released: boolean[] = [];
  const release = (isMiss: boolean) => released.push(isMiss);
  const loadShedder = { tryAdmit: () => true, release, start: () => () => {} };
  const own = await startEmbeddedGateway({}, { loadShedder });
  onTestFinished(() => own.stop());
  await own.read();
  await own.read();
  own.upstream.respond = () => {};
  const client = new AbortController();
  const otherUrl = own.gateway.url + campaignPath.replace('cmp_1', 'cmp_2');
  const aborted = fetch(otherUrl, { headers: own.credentials, signal: client.signal }).catch(() => {});
  await until(() => own.upstream.requests.length === 2);
  client.abort();
  await aborted;
  await until(() => released.length === 3);
  expect(released.slice(0, 2)).toEqual([true, false]);
});
