import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { ageSharedEntries } from '../helpers/clock.ts';
import type { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { startFullBacklog } from '../helpers/full-backlog.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithCampaign, startRawUpstream } from '../helpers/upstream.ts';
import { expectUpstreamError } from '../helpers/upstream-error.ts';
import { until } from '../helpers/wait.ts';
import { startUncached } from './start-uncached.ts';

/** Failures below HTTP. failing-responses.ts lists those of a reachable HTTP server. */

async function expectFailure(embedded: EmbeddedGateway, reason: FailureReason): Promise<void> {
  await expectUpstreamError(await embedded.read(), reason, embedded.gateway.log);
}

const unreachable: [title: string, reason: FailureReason, url: () => Promise<string>][] = [
  ['nothing listens on its port', 'connect', async () => `http://127.0.0.1:${await freePort()}`],
  ['its host name does not exist', 'dns', async () => 'http://no-such-host.invalid'],
  ['it does not speak TLS', 'tls', async () => `https://127.0.0.1:${new URL(stack.upstream.url).port}`],
];

let stack: Stack;
let key: string;
beforeAll(async () => {
  stack = await Stack.start();
  key = await stack.key();
});
afterAll(() => stack.stop());

describe.each(unreachable)('when the campaign service cannot be reached because %s', (_title, reason, url) => {
  test('the client gets a 502 with the reason', async () => {
    await expectFailure(await startUncached({ CAMPAIGN_SERVICE_URL: await url() }), reason);
  });

  test('a gateway serves what another gateway has cached, fresh or stale', async () => {
    const { client } = stack.redis;
    const cached = { CACHE_TTL_MS: '60000', CACHE_STALE_WHILE_REVALIDATE_MS: '0' };
    const read = async (gateway: RunningGateway) => {
      const { status, headers } = await get(gateway.url + campaignPath, { 'x-api-key': key });
      return [status, headers.get('cache-status')];
    };
    await read(await stack.gateway(cached));
    await until(async () => (await client.keys('*:{cache:ag_1}:/*:lease')).length === 0);
    const isolated = { ...cached, CAMPAIGN_SERVICE_URL: await url() };
    expect(await read(await stack.gateway(isolated))).toEqual([200, expect.stringMatching(/; hit; ttl=\d+$/)]);
    await ageSharedEntries(client, 100_000);
    expect(await read(await stack.gateway(isolated))).toEqual([
      200,
      expect.stringMatching(new RegExp(`; fwd=stale; ttl=-\\d+; detail=${reason}$`)),
    ]);
    await client.del(...(await client.keys('*:{cache:ag_1}:*')));
  });
});

test('CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS bounds a connection attempt that is neither accepted nor refused', async () => {
  const { url, stop } = await startFullBacklog();
  const embedded = await startUncached({
    CAMPAIGN_SERVICE_URL: url,
    CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '200',
    CAMPAIGN_SERVICE_RETRIES: '0',
  });
  await expectFailure(embedded, 'connect');
  stop();
});

test('TLS requires a trusted, unexpired certificate for the host name, and the configured client certificate is sent', async () => {
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
  const [valid, expired] = [await start(server), await start(expiredServer)];
  const withClientCertificate = {
    CAMPAIGN_SERVICE_CA_FILE: files.ca,
    CAMPAIGN_SERVICE_CERT_FILE: files.cert,
    CAMPAIGN_SERVICE_KEY_FILE: files.key,
  };
  const connect = (url: string, files = {}) => startUncached({ CAMPAIGN_SERVICE_URL: url, ...files });
  expect((await (await connect(valid.url, withClientCertificate)).read()).status).toBe(200);
  await expectFailure(await connect(valid.url), 'tls');
  await expectFailure(await connect(valid.url.replace('localhost', '127.0.0.1'), withClientCertificate), 'tls');
  await expectFailure(await connect(expired.url, withClientCertificate), 'tls');
  valid.stop();
  expired.stop();
  await remove();
});

test('a body without a declared length is read until the connection closes', async () => {
  const document = JSON.stringify(campaignDocument('cmp_1', 'ag_1'));
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n';
  const upstream = await startRawUpstream((socket) => socket.end(head + document));
  expect((await (await startUncached({ CAMPAIGN_SERVICE_URL: upstream.url })).read()).status).toBe(200);
  upstream.stop();
});

test('a body in more than 65,536 chunks is rejected as too_large, whatever its size', async () => {
  const embedded = await startUncached();
  embedded.upstream.respond = (_request, response) => {
    const pump = () => {
      while (!response.destroyed && response.write(' '));
      if (!response.destroyed) response.once('drain', pump);
    };
    pump();
  };
  await expectFailure(embedded, 'too_large');
});

test('a client disconnect closes the upstream connection and is logged as status 499', async () => {
  const embedded = await startUncached();
  const closed = Promise.withResolvers<void>();
  embedded.upstream.respond = (_request, response) => response.on('close', closed.resolve);
  const client = new AbortController();
  const url = embedded.gateway.url + campaignPath;
  const response = fetch(url, { headers: embedded.credentials, signal: client.signal }).catch(() => 'aborted');
  await until(() => embedded.upstream.requests.length === 1);
  client.abort();
  await closed.promise;
  expect(await response).toBe('aborted');
  const { log } = embedded.gateway;
  expect(await until(() => log.find(({ msg }) => msg === 'request completed'))).toMatchObject({ status: 499 });
});
