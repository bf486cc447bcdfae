import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { EmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { startFullBacklog } from '../helpers/full-backlog.ts';
import { freePort } from '../helpers/redis.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { failingResponses, MAX_BODY_BYTES } from './failing-responses.ts';
import { startUncached } from './start-uncached.ts';
import { expectUpstreamError } from './upstream-error.ts';

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
  shortTimeout = await EmbeddedGateway.start({ ...settings, CAMPAIGN_SERVICE_TIMEOUT_MS: '250' });
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

/** Reads until the response is a 200: on a loaded machine even a prompt response can miss the short timeout. */
async function readSuccessfully(embedded: EmbeddedGateway, id: string): Promise<void> {
  embedded.upstream.respond = respondWithCampaign;
  const { body } = await until(async () => {
    const response = await embedded.read(id);
    return response.status === 200 ? response : undefined;
  });
  expect(body.data?.['id']).toBe(id);
}

async function expectFailure(embedded: EmbeddedGateway, reason: FailureReason, id?: string): Promise<void> {
  await expectUpstreamError(await embedded.read(id), reason, embedded.gateway.log);
}

test.each(failingResponses)(
  'when the campaign service sends $title, the client gets a 502 with the reason, then a stale document, and nothing leaks',
  async ({ title, reason, respond }) => {
    const embedded = reason === 'timeout' ? shortTimeout : longTimeout;
    const id = title.replace(/\W/g, '_');
    embedded.upstream.respond = respond;
    await expectFailure(embedded, reason, id);
    await readSuccessfully(embedded, id);
    embedded.clock.advance(100_000);
    embedded.upstream.respond = respond;
    const { status, body, headers } = await embedded.read(id);
    expect([status, body.data?.['id']]).toEqual([200, id]);
    const expected = new RegExp(`^campaign-gateway; fwd=stale; ttl=-\\d+; detail=${reason}$`);
    expect(headers.get('cache-status')).toMatch(expected);
    await readSuccessfully(embedded, id);
    await until(() => activeResources() <= baseline);
  },
);

test.each<[title: string, reason: FailureReason, url: () => Promise<string> | string]>([
  ['nothing listens on its port', 'connect', async () => `http://127.0.0.1:${await freePort()}`],
  ['it does not accept within CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS', 'connect', startFullBacklog],
  ['its host name does not exist', 'dns', () => 'http://no-such-host.invalid'],
  ['it does not speak TLS', 'tls', () => longTimeout.upstream.url.replace('http:', 'https:')],
])(
  'when the campaign service cannot be reached because %s, the client gets a 502 with the reason',
  async (_title, reason, url) => {
    const limits = { CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '2000', CAMPAIGN_SERVICE_RETRIES: '0' };
    await expectFailure(await startUncached({ CAMPAIGN_SERVICE_URL: await url(), ...limits }), reason);
  },
);

test('TLS requires a trusted, unexpired certificate for the host name, and the configured client certificate is sent', async () => {
  const { ca, server, expired: expiredServer, files, remove } = await makeCertificates();
  onTestFinished(remove);
  const start = async (certificate: { key: string; cert: string }) => {
    const service = createTlsServer(
      { ...certificate, ca, requestCert: true, rejectUnauthorized: true },
      respondWithCampaign,
    );
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    onTestFinished(() => service.close().closeAllConnections());
    return `https://localhost:${(service.address() as AddressInfo).port}`;
  };
  const [valid, expired] = [await start(server), await start(expiredServer)];
  const withClientCertificate = {
    CAMPAIGN_SERVICE_CA_FILE: files.ca,
    CAMPAIGN_SERVICE_CERT_FILE: files.cert,
    CAMPAIGN_SERVICE_KEY_FILE: files.key,
  };
  const connect = (url: string, files = {}) => startUncached({ CAMPAIGN_SERVICE_URL: url, ...files });
  expect((await (await connect(valid, withClientCertificate)).read()).status).toBe(200);
  await expectFailure(await connect(valid), 'tls');
  await expectFailure(await connect(valid.replace('localhost', '127.0.0.1'), withClientCertificate), 'tls');
  await expectFailure(await connect(expired, withClientCertificate), 'tls');
});
