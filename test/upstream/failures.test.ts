import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { FailureReason } from '../../src/upstream/failure.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { listen } from '../helpers/listen.ts';
import { freePort, RedisServer } from '../helpers/redis.ts';
import { respondWithCampaign } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { failingResponses, MAX_BODY_BYTES } from './failing-responses.ts';
import { startUncached } from './start-uncached.ts';

const settings = {
  CAMPAIGN_SERVICE_MAX_BODY_BYTES: String(MAX_BODY_BYTES),
  CAMPAIGN_SERVICE_BREAKER_FAILURES: '1000000',
  CAMPAIGN_SERVICE_RETRIES: '0',
  CACHE_TTL_MS: '60000',
  CACHE_STALE_WHILE_REVALIDATE_MS: '0',
  CACHE_STALE_IF_ERROR_MS: '600000',
  CACHE_MAX_BYTES: '100000',
};

/** RFC 9209, section 2.3: what a program reads for each reason. */
const proxyStatus: Readonly<Record<FailureReason, RegExp>> = {
  dns: /^campaign-gateway; error=dns_error$/,
  connect: /^campaign-gateway; error=connection_refused$/,
  tls: /^campaign-gateway; error=tls_certificate_error$/,
  timeout: /^campaign-gateway; error=http_response_timeout$/,
  reset: /^campaign-gateway; error=connection_terminated$/,
  truncated: /^campaign-gateway; error=http_response_incomplete$/,
  status: /^campaign-gateway; received-status=\d{3}$/,
  too_large: /^campaign-gateway; error=http_response_body_size$/,
  not_json: /^campaign-gateway; error=http_protocol_error$/,
  invalid_document: /^campaign-gateway; error=http_protocol_error$/,
  circuit_open: /^campaign-gateway; error=destination_unavailable$/,
  overloaded: /^campaign-gateway; error=connection_limit_reached$/,
};

/** For responses that must time out. All other responses use the gateway with the long timeout. */
let shortTimeout: EmbeddedGateway;
let longTimeout: EmbeddedGateway;
let baseline: number;

beforeAll(async () => {
  shortTimeout = await startEmbeddedGateway({ ...settings, CAMPAIGN_SERVICE_TIMEOUT_MS: '250' });
  longTimeout = await startEmbeddedGateway(settings);
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

/** The log line of a request. */
const findLine = ({ gateway }: EmbeddedGateway, traceId: string) =>
  until(() => gateway.log.find((line) => line['trace_id'] === traceId && line.msg === 'request completed'));

/** Expects a 502 with this reason in the envelope and the log, and without any text or address of the campaign service. */
async function expectFailure(
  embedded: EmbeddedGateway,
  reason: FailureReason,
  id = 'cmp_1',
  proxyError = proxyStatus[reason],
) {
  const { status, headers, body, text } = await embedded.read(id);
  const { code, details } = body.error ?? {};
  expect([status, code, details?.split(':')[0]]).toEqual([502, 'UPSTREAM_ERROR', reason]);
  expect(details).toMatch(/^[a-z_]+: [A-Za-z ,]+\.$/);
  expect(headers.get('proxy-status')).toMatch(proxyError);
  expect(text).not.toMatch(/127\.0\.0\.1|localhost|ECONN|secret|at \S+:\d+/);
  const line = await findLine(embedded, body.traceId);
  expect(line).toMatchObject({ status: 502, code: 'UPSTREAM_ERROR', reason, level: 'warn' });
}

/** The URL of a frozen server with a full accept queue: a new connection is neither accepted nor refused. */
async function startFullBacklog(): Promise<string> {
  const server = await RedisServer.start('--tcp-backlog', '1');
  onTestFinished(() => server.stop());
  server.freeze();
  const fillers = Array.from({ length: 4 }, () => connectTcp(server.port, '127.0.0.1').on('error', () => {}));
  // Linux queues one connection more than the backlog.
  await Promise.all(fillers.slice(0, 2).map((socket) => once(socket, 'connect')));
  onTestFinished(() => fillers.forEach((socket) => void socket.destroy()));
  return `http://127.0.0.1:${server.port}`;
}

test.each(failingResponses)(
  'when the campaign service sends $title, the client gets a 502 with the reason, then a stale document, both are logged as warnings, and nothing leaks',
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
    const line = await findLine(embedded, body.traceId);
    expect(line).toMatchObject({ status: 200, cache: 'stale_if_error', reason, level: 'warn' });
    await readSuccessfully(embedded, id);
    await until(() => activeResources() <= baseline);
  },
);

test.each<[title: string, reason: FailureReason, url: () => Promise<string> | string, proxyError?: RegExp]>([
  ['nothing listens on its port', 'connect', async () => `http://127.0.0.1:${await freePort()}`],
  ['it does not accept within CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS', 'connect', startFullBacklog, /connection_timeout$/],
  ['its host name does not exist', 'dns', () => 'http://no-such-host.invalid'],
  ['it does not speak TLS', 'tls', () => longTimeout.upstream.url.replace('http:', 'https:'), /tls_protocol_error$/],
])(
  'when the campaign service cannot be reached because %s, the client gets a 502 with the reason',
  async (_title, reason, url, proxyError) => {
    const limits = { CAMPAIGN_SERVICE_CONNECT_TIMEOUT_MS: '2000', CAMPAIGN_SERVICE_RETRIES: '0' };
    const embedded = await startUncached({ CAMPAIGN_SERVICE_URL: await url(), ...limits });
    await expectFailure(embedded, reason, 'cmp_1', proxyError);
  },
);

test('TLS requires a trusted, unexpired certificate for the host name, and the configured client certificate is sent', async () => {
  const { ca, server, expired: expiredServer, files } = await makeCertificates();
  const start = async (certificate: { key: string; cert: string }) => {
    const options = { ...certificate, ca, requestCert: true, rejectUnauthorized: true };
    const service = createTlsServer(options, respondWithCampaign);
    onTestFinished(() => service.close().closeAllConnections());
    return (await listen(service)).replace('http://127.0.0.1', 'https://localhost');
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
