import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { ageSharedEntries } from '../helpers/clock.ts';
import { startFullBacklog } from '../helpers/full-backlog.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithCampaign, startRawUpstream } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

/** What no server at the right address does: see failing-answers.ts for the rest. */
let stack: Stack;
let key: string;

beforeAll(async () => {
  stack = await Stack.start();
  key = await stack.key();
});
afterAll(() => stack.stop());
afterEach(() => {
  stack.upstream.answer = respondWithCampaign;
});

const read = (at: RunningGateway, signal?: AbortSignal) =>
  signal
    ? fetch(at.url + campaignPath, { headers: { 'x-api-key': key }, signal })
    : get(at.url + campaignPath, { 'x-api-key': key });

/** The failure is a 502 with this reason in envelope and log; nothing of its text comes out; the next request is served. */
async function expectFailure(at: RunningGateway, reason: FailureReason): Promise<void> {
  const { status, body, text } = await get(at.url + campaignPath, { 'x-api-key': key });
  expect([status, body.error?.details.split(':')[0]]).toEqual([502, reason]);
  expect(body.error?.code).toBe('UPSTREAM_ERROR');
  expect(body.error?.details).toMatch(/^[a-z_]+: [A-Za-z ,]+\.$/);
  expect(text).not.toMatch(/127\.0\.0\.1|localhost|ECONN|secret|at \S+:\d+/);
  const line = await until(() =>
    at.log.find((entry) => entry['trace_id'] === body.traceId && entry.msg === 'request completed'),
  );
  expect(line).toMatchObject({ status: 502, code: 'UPSTREAM_ERROR', reason, level: 'warn' });
}

const whole = JSON.stringify(campaignDocument('cmp_1', 'ag_1'));
const json = (body: string, ...headers: string[]) =>
  ['HTTP/1.1 200 OK', 'Content-Type: application/json', ...headers, '', body].join('\r\n');

const unreachable: [what: string, reason: FailureReason, url: () => Promise<string>][] = [
  ['nobody listens there', 'connect', async () => `http://127.0.0.1:${await freePort()}`],
  ['the host does not exist', 'dns', async () => 'http://no-such-host.invalid'],
  ['it speaks no TLS', 'tls', async () => stack.upstream.url.replace('http:', 'https:')],
];

describe.each(unreachable)('%s: %s', (_what, reason, url) => {
  test('a 502', async () => {
    await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: await url() }), reason);
  });

  test('what another gateway has read is served, fresh or stale', async () => {
    const cached = { CACHE_TTL_MS: '60000', CACHE_STALE_WHILE_REVALIDATE_MS: '0' };
    await read(await stack.gateway(cached));
    await until(async () => (await stack.redis.client.keys('*:{cache:ag_1}:/*:lease')).length === 0);
    const cutOff = { ...cached, CAMPAIGN_SERVICE_URL: await url() };
    const statusAt = async (gateway: RunningGateway) => {
      const { status, headers } = await get(gateway.url + campaignPath, { 'x-api-key': key });
      return [status, headers.get('cache-status')];
    };
    expect(await statusAt(await stack.gateway(cutOff))).toEqual([200, expect.stringMatching(/; hit; ttl=\d+$/)]);
    await ageSharedEntries(stack.redis.client, 100_000);
    expect(await statusAt(await stack.gateway(cutOff))).toEqual([
      200,
      expect.stringMatching(new RegExp(`; fwd=stale; ttl=-\\d+; detail=${reason}$`)),
    ]);
    await stack.redis.client.del(...(await stack.redis.client.keys('*:{cache:ag_1}:*')));
  });
});

test('a connection that is not accepted in time: connect, long before the deadline of the whole exchange', async () => {
  const { url, stop } = await startFullBacklog();
  const before = await stack.gateway({
    CAMPAIGN_SERVICE_URL: url,
    CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '200',
    CAMPAIGN_SERVICE_TIMEOUT_MS: '30000',
  });
  await expectFailure(before, 'connect');
  stop();
});

test('TLS: trusted by the CA file and with the client certificate asked for; anything else is refused', async () => {
  const { ca, server, expired: expiredServer, files, remove } = await makeCertificates();
  const start = async (certificate: { key: string; cert: string }) => {
    const service = createTlsServer(
      { ...certificate, ca, requestCert: true, rejectUnauthorized: true },
      respondWithCampaign,
    );
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    return {
      url: `https://localhost:${(service.address() as AddressInfo).port}`,
      stop: () => service.close().closeAllConnections(),
    };
  };
  const [good, expired] = [await start(server), await start(expiredServer)];
  const withClient = {
    CAMPAIGN_SERVICE_CA_FILE: files.ca,
    CAMPAIGN_SERVICE_CERT_FILE: files.cert,
    CAMPAIGN_SERVICE_KEY_FILE: files.key,
  };
  expect((await read(await stack.gateway({ CAMPAIGN_SERVICE_URL: good.url, ...withClient }))).status).toBe(200);
  await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: good.url }), 'tls');
  await expectFailure(
    await stack.gateway({ CAMPAIGN_SERVICE_URL: good.url.replace('localhost', '127.0.0.1'), ...withClient }),
    'tls',
  );
  await expectFailure(await stack.gateway({ CAMPAIGN_SERVICE_URL: expired.url, ...withClient }), 'tls');
  good.stop();
  expired.stop();
  await remove();
});

test('an answer whose length is not declared is read to the end of its connection', async () => {
  const upstream = await startRawUpstream((socket) => socket.end(json(whole, 'Connection: close')));
  expect((await read(await stack.gateway({ CAMPAIGN_SERVICE_URL: upstream.url }))).status).toBe(200);
  upstream.stop();
});

test('a client that hangs up frees what its request held at the campaign service, and is logged as such', async () => {
  const closed = Promise.withResolvers<void>();
  stack.upstream.answer = (_request, response) => response.on('close', closed.resolve);
  const patient = await stack.gateway({ CAMPAIGN_SERVICE_TIMEOUT_MS: '60000' });
  const asked = stack.upstream.requests.length;
  const hangUp = new AbortController();
  const answer = read(patient, hangUp.signal).catch(() => 'hung up');
  await until(() => stack.upstream.requests.length > asked);
  hangUp.abort();
  await closed.promise;
  expect(await answer).toBe('hung up');
  expect(await until(() => patient.log.find(({ msg }) => msg === 'request completed'))).toMatchObject({ status: 499 });
});
