import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorDefinitions } from '../../src/http/errors.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { exchangeBytes, get, parseResponses } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';

let embedded: EmbeddedGateway;
let url: string;
beforeAll(async () => {
  embedded = await EmbeddedGateway.startOverloaded();
  url = embedded.gateway.url;
});
afterAll(() => embedded.stop());

const raw = async (...lines: string[]) =>
  parseResponses(await exchangeBytes(url, `${lines.join('\r\n')}\r\n\r\n`, (text) => text.endsWith('"}')));

test('a refusal is the same for all: whoever asks, for whatever, by whichever method', async () => {
  const key = embedded.credentials;
  const asked = [
    get(url + campaignPath),
    get(url + campaignPath, key),
    get(url + campaignPath, { 'x-api-key': 'cgw_nonsense' }),
    get(url + campaignPath, key, 'DELETE'),
    get(`${url}/nowhere`, key),
    get(`${url}/v1/accounts/a.b/campaigns/c`, key),
  ];
  for (const { status, headers, body } of await Promise.all(asked)) {
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
    const { date, 'retry-after': retryAfter, ...others } = Object.fromEntries(headers);
    expect(others).toEqual({
      'x-trace-id': body.traceId,
      vary: 'X-API-Key, Authorization',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
      'content-length': expect.any(String),
    });
    expect(retryAfter).toMatch(/^[123]$/);
    expect(Math.abs(Date.parse(date ?? '') - Date.now())).toBeLessThan(60_000);
  }
  expect(embedded.upstream.requests).toEqual([]);
});

test('those that are refused together are not told to come back together', async () => {
  const answers = await Promise.all(Array.from({ length: 60 }, () => get(url)));
  expect(new Set(answers.map(({ headers }) => headers.get('retry-after')))).toEqual(new Set(['1', '2', '3']));
});

test('each has a trace id of its own, or that of its caller', async () => {
  const [first, second] = [await get(url), await get(url)];
  expect(first.body.traceId).not.toBe(second.body.traceId);
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  expect((await get(url, { traceparent })).body.traceId).toBe('4bf92f3577b34da6a3ce929d0e0e4736');
});

test('HEAD has the headers alone', async () => {
  const [viaGet, viaHead] = [await get(url), await get(url, {}, 'HEAD')];
  expect([viaHead.status, viaHead.text]).toEqual([503, '']);
  expect(viaHead.headers.get('content-length')).toBe(viaGet.headers.get('content-length'));
});

test('the connection is kept, and each of the requests on it has its answer', async () => {
  const request = `GET ${campaignPath} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`;
  const bytes = `${request.repeat(5)}GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  const answers = parseResponses(await exchangeBytes(url, bytes));
  expect(answers.map(({ status, headers }) => [status, headers['connection']])).toEqual([
    ...Array.from({ length: 5 }, () => [503, undefined]),
    [503, 'close'],
  ]);
});

test.each([
  ['that asks for it', ['GET / HTTP/1.1', 'Host: a', 'Connection: close']],
  ['of HTTP/1.0', ['GET / HTTP/1.0']],
  ['whose body has no known end', ['GET / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '0']],
  ['whose body is too large', ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 70000']],
  ['with an expectation', ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 5', 'Expect: 100-continue']],
  ['for another protocol', ['GET / HTTP/1.1', 'Host: a', 'Connection: upgrade', 'Upgrade: h2c']],
])('the connection ends after a request %s', async (_what, lines) => {
  const text = await exchangeBytes(url, `${lines.join('\r\n')}\r\n\r\n`);
  expect(parseResponses(text)).toMatchObject([{ status: 503, headers: { connection: 'close' } }]);
});

test('the log has the trace id of each refused request, many in a line, and no line for each', async () => {
  const answers = await Promise.all(Array.from({ length: 40 }, () => get(url)));
  const lines = () => embedded.gateway.log.filter(({ msg }) => msg === 'requests rejected');
  const told = () => new Set(lines().flatMap((line) => String(line['trace_ids']).split(' ')));
  await until(() => answers.every(({ body }) => told().has(body.traceId)));
  expect(lines()[0]).toMatchObject({ level: 'warn', status: 503, code: 'OVERLOADED', reason: 'event_loop' });
  for (const line of lines()) expect(line['refused']).toBe(String(line['trace_ids']).split(' ').length);
  expect(embedded.gateway.log.filter(({ msg, code }) => msg === 'request completed' && code === 'OVERLOADED')).toEqual(
    [],
  );
});

test('what the parser refuses is answered as ever', async () => {
  expect(await raw('NONSENSE')).toMatchObject([{ status: 400 }]);
});

test('a gateway that shuts down ends the connection with its answer, and says how many it has refused', async () => {
  const own = await EmbeddedGateway.startOverloaded();
  for (let i = 0; i < 3; i++) expect((await get(own.gateway.url)).status).toBe(503);
  await own.stop();
  expect(own.gateway.log.find(({ msg }) => msg === 'overload ended')).toMatchObject({
    level: 'warn',
    refused: 3,
  });
});
