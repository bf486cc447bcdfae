import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EmbeddedGateway, startEmbeddedGateway } from '../helpers/embedded-gateway.ts';
import { classifyResponse, type Outcome, RawClient } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';

/** A request for a campaign. `KEY` stands for a valid key. */
function get(headers = '', { target = campaignPath, version = 'HTTP/1.1', host = 'Host: a\r\n' } = {}): string {
  return `GET ${target} ${version}\r\n${host}X-API-Key: KEY\r\n${headers}\r\n`;
}
const target = (text: string) => get('', { target: text });
const host = (lines: string) => get('', { host: lines });
const withLength = (value: string) => `${get(`Content-Length: ${value}\r\n`)}hello`;
const chunked = (chunks: string, coding = 'chunked') => `${get(`Transfer-Encoding: ${coding}\r\n`)}${chunks}`;
const long = (count: number) => 'a'.repeat(count);

/** The request that follows. If the gateway parsed it, the client would get a campaign. */
const smuggled = get();

interface RawRequest {
  readonly name: string;
  readonly bytes: string;
  /** The expected responses, in order. */
  readonly responses: readonly Outcome[];
  /** Whether the gateway closes the connection after the last response. */
  readonly closes: boolean;
}

const expecting = (closes: boolean, responses: readonly Outcome[], requests: Record<string, string>): RawRequest[] =>
  Object.entries(requests).map(([name, bytes]) => ({ name, bytes, responses, closes }));

/** The last request on its connection: the one that follows gets no response. */
const last = (outcome: Outcome, requests: Record<string, string>): RawRequest[] =>
  expecting(true, [outcome], requests).map((row) => ({ ...row, bytes: row.bytes + smuggled }));

const malformed = last('VALIDATION_ERROR', {
  'HTTP/2.0': get('', { version: 'HTTP/2.0' }),
  'the HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'a TLS ClientHello': '\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03',
  'an unknown method': get().replace('GET', 'FETCH'),
  'CONNECT with an authority': 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n',
  'a space in the target': target(`${campaignPath} x`),
  'an authority as target': target('a:80'),
  // Express would serve the path of any URI.
  'an absolute target with another scheme': target(`ftp://a${campaignPath}`),
  'an absolute target without a host': target(`http://${campaignPath}`),
  'an absolute target with a user': target(`http://user@a${campaignPath}`),
  'an absolute target without a Host': get('', { target: `http://a${campaignPath}`, host: '' }),

  'no Host': host(''),
  'two Hosts in different case': host('Host: a\r\nhOST: b\r\n'),
  'a Host with a non-numeric port': host('Host: a:http\r\n'),
  'a Host with an invalid IPv6 address': host('Host: [::::]\r\n'),
  'a space before the colon': get('X-A : b\r\n'),
  'a folded header': get('X-A: b\r\n c\r\n'),
  'a NUL in a header': get('X-A: a\0b\r\n'),
  'a bare CR in a header': get('X-A: a\rX-B: b\r\n'),
  'a bare LF after a header': get('X-A: b\nX-B: c\r\n'),

  'a length, then chunks': `${get('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n`,
  'chunks, then a length': `${get('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n')}0\r\n\r\n`,
  'two lengths': get('Content-Length: 5\r\nContent-Length: 6\r\n'),
  'the same length twice': get('Content-Length: 0\r\nContent-Length: 0\r\n'),
  'a length with a sign': withLength('+5'),
  'a coding before chunked': chunked('0\r\n\r\n', 'gzip, chunked'),
  'chunked twice, in two headers': chunked('0\r\n\r\n', 'chunked\r\nTransfer-Encoding: chunked'),
  'a vertical tab before chunked': chunked('0\r\n\r\n', '\x0bchunked'),
  // RFC 9112, section 6.1: such a message has faulty framing.
  'chunks in HTTP/1.0': `${get('Transfer-Encoding: chunked\r\n', { version: 'HTTP/1.0' })}0\r\n\r\n`,
});

const oversized = [
  ...last('HEADERS_TOO_LARGE', {
    'a header that is too long': get(`X-A: ${long(20_000)}\r\n`),
    'too many headers': get('a: b\r\n'.repeat(200)),
  }),
  ...last('URI_TOO_LONG', { 'a target that is too long': target(`/${long(10_000)}`) }),
  ...last('PAYLOAD_TOO_LARGE', {
    'a body that is too large': get('Content-Length: 300000\r\n') + long(300_000),
    'a body that is too large, with Expect': get('Expect: 100-continue\r\nContent-Length: 65537\r\n'),
  }),
];

/** Bodies are not read, so their content has no effect on the response. */
const unread = last('OK', {
  'a chunked body': chunked('5\r\nhello\r\n0\r\n\r\n', 'CHUNKED'),
  'chunks with bare LFs': chunked('5\nhello\n0\n\n'),
  'a chunk size beyond 64 bits': chunked(`${'f'.repeat(17)}\r\n`),
  'a chunk extension that is too long': chunked(`1;${long(30_000)}\r\na\r\n0\r\n\r\n`),
  'a body with Expect: 100-continue': `${get('Expect: 100-continue\r\nContent-Length: 5\r\n')}hello`,
  'an unknown expectation': get('Expect: a-miracle\r\n'),
  'an upgrade to HTTP/2': `${get('Connection: Upgrade\r\nUpgrade: h2c\r\n')}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
  'an upgrade with a body': `${get('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n')}hello`,
  'an upgrade that Connection does not name': get('Upgrade: websocket\r\n'),
  'HTTP/1.0 without a Host': get('', { version: 'HTTP/1.0', host: '' }),
});

const keptAlive = [
  ...expecting(false, ['OK'], {
    'a request inside the body of another': `${get('Content-Length: 27\r\n')}GET / HTTP/1.1\r\nHost: a\r\n\r\n`,
    'empty lines before the request': `\r\n\r\n${get()}`,
    'an absolute target in capitals with a port': target(`HTTPS://GATEWAY.EXAMPLE:443${campaignPath}`),
    'an empty Host': host('Host:\r\n'),
    'a Host with an IPv6 address and a port': host('Host: [::1]:8080\r\n'),
    'headers named in Connection': get('Connection: x-api-key, host\r\n'),
    'the maximum number of headers': get('a: b\r\n'.repeat(190)),
  }),
  ...expecting(false, ['METHOD_NOT_ALLOWED'], { 'a body with a POST': withLength('5').replace('GET', 'POST') }),
  ...expecting(false, ['NOT_FOUND'], {
    'an absolute target with a doubled slash': target(`http://a/${campaignPath}`),
    'a path with a dot segment': target('/v1/accounts/ag_1/campaigns/../campaigns/cmp_1'),
    'an asterisk as target': target('*').replace('GET', 'OPTIONS'),
  }),
  ...expecting(false, ['VALIDATION_ERROR'], { 'a fragment in the target': target(`${campaignPath}#x`) }),
];

const afterValidRequest = [
  ...expecting(true, ['OK', 'VALIDATION_ERROR'], {
    'a valid request, then garbage': `${get()}NONSENSE\r\n\r\n${smuggled}`,
    'a valid request, then one without a Host': get() + host('') + smuggled,
    'a body longer than its length': withLength('3'),
  }),
  ...expecting(true, ['OK'], { 'Connection: close, then garbage': `${get('Connection: close\r\n')}NONSENSE\r\n\r\n` }),
];

let gateway: EmbeddedGateway;
let expectedUpstreamRequests = 0;

beforeAll(async () => {
  gateway = await startEmbeddedGateway({ CACHE_TTL_MS: '0', DOCS: 'false' });
});
afterAll(async () => {
  const { upstream } = gateway;
  await gateway.stop();
  expect(upstream.requests.length).toBe(expectedUpstreamRequests); // No smuggled request was forwarded.
});

const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

async function exchange({ bytes, responses, closes }: RawRequest, packets: number): Promise<string[]> {
  expectedUpstreamRequests += responses.filter((outcome) => outcome === 'OK').length;
  const client = await RawClient.connect(gateway.gateway.url);
  const all = Buffer.from(bytes.replaceAll('KEY', gateway.credentials['x-api-key'] ?? ''), 'latin1');
  const size = Math.ceil(all.length / packets);
  for (let at = 0; at < all.length && !client.closed; at += size) await client.send(all.subarray(at, at + size));
  if (!closes) {
    await client.untilResponses(responses.length);
    await client.send(LAST);
  }
  return (await client.untilClosed()).map(classifyResponse);
}

// Concurrent, because a connection with an unread body lingers for two seconds.
test.concurrent.each([...malformed, ...oversized, ...unread, ...keptAlive, ...afterValidRequest])(
  '$name, in one packet and in 60: the responses are $responses',
  async (row) => {
    const expected = row.closes ? row.responses : [...row.responses, 'NOT_FOUND'];
    expect(await Promise.all([exchange(row, 1), exchange(row, 60)])).toEqual([expected, expected]);
  },
);
