import type { Outcome } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';

/** Bytes of one or more requests. `KEY` stands for a valid key. */
export interface RawRequest {
  readonly name: string;
  readonly bytes: string;
  /** The expected responses, in order. */
  readonly responses: readonly Outcome[];
  /** Whether the gateway closes the connection after the last response. */
  readonly closes: boolean;
}

type Requests = Readonly<Record<string, string>>;

/** A request for a campaign. */
function get(headers = '', { target = campaignPath, version = 'HTTP/1.1', host = 'Host: a\r\n' } = {}): string {
  return `GET ${target} ${version}\r\n${host}X-API-Key: KEY\r\n${headers}\r\n`;
}
const version = (text: string) => get('', { version: text });
const target = (text: string) => get('', { target: text });
const host = (lines: string) => get('', { host: lines });
const method = (text: string) => get().replace('GET', text);
const withLength = (value: string) => `${get(`Content-Length: ${value}\r\n`)}hello`;
const chunked = (chunks: string, coding = 'chunked') => `${get(`Transfer-Encoding: ${coding}\r\n`)}${chunks}`;
const upgrade = (headers: string) => get(`Connection: Upgrade\r\n${headers}`);
const long = (count: number) => 'a'.repeat(count);

/** The request that follows. If the gateway parsed it, the client would get a campaign. */
const smuggled = get();

const expecting = (closes: boolean, responses: readonly Outcome[], requests: Requests): RawRequest[] =>
  Object.entries(requests).map(([name, bytes]) => ({ name, bytes, responses, closes }));

/** The last request on its connection: the one that follows gets no response. */
const last = (outcome: Outcome, requests: Requests): RawRequest[] =>
  expecting(true, [outcome], requests).map((row) => ({ ...row, bytes: row.bytes + smuggled }));

const requestLines = last('VALIDATION_ERROR', {
  // RFC 9110, section 2.5, treats 1.2 as 1.1. Node's parser rejects it, and no client sends it.
  'HTTP/1.2': version('HTTP/1.2'),
  'HTTP/0.9 without a version': `GET ${campaignPath}\r\n\r\n`,
  'HTTP/2.0': version('HTTP/2.0'),
  'the HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'ICE/1.0': version('ICE/1.0'),
  'a TLS ClientHello': '\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03',
  'no method': ` ${campaignPath} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'an unknown method': method('FETCH'),
  'an RTSP method': method('DESCRIBE'),
  CONNECT: method('CONNECT'),
  'CONNECT with an authority': 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n',
  'no target': target(''),
  'a space in the target': target(`${campaignPath} x`),
  'a control character in the target': target(`${campaignPath}\x01`),
  'an authority as target': target('a:80'),
  'a query as target': target(`?${campaignPath}`),
  // Express would serve the path of any URI.
  'an absolute target with another scheme': target(`ftp://a${campaignPath}`),
  'an absolute target without a host': target(`http://${campaignPath}`),
  'an absolute target with a user': target(`http://user@a${campaignPath}`),
  'an absolute target with a non-numeric port': target(`http://a:x${campaignPath}`),
});

const headers = last('VALIDATION_ERROR', {
  'no Host': host(''),
  'two Hosts in different case': host('Host: a\r\nhOST: b\r\n'),
  'two Hosts in HTTP/1.0': get('Host: b\r\n', { version: 'HTTP/1.0' }),
  'a Host with a slash': host('Host: a/b\r\n'),
  'a Host with a user': host('Host: user@a\r\n'),
  'a Host with a non-numeric port': host('Host: a:http\r\n'),
  'a Host with invalid percent-encoding': host('Host: %zz\r\n'),
  'a non-ASCII Host': host('Host: \xe9\r\n'),
  'a Host with an invalid IPv6 address': host('Host: [::::]\r\n'),
  'an absolute target without a Host': get('', { target: `http://a${campaignPath}`, host: '' }),
  'a header without a colon': get('nonsense\r\n'),
  'a space before the colon': get('X-A : b\r\n'),
  'a non-ASCII header name': get('X-\xe9: b\r\n'),
  'a folded header': get('X-A: b\r\n c\r\n'),
  'a space before the first header': host(' Host: a\r\n'),
  'a NUL in a header': get('X-A: a\0b\r\n'),
  'a bare CR in a header': get('X-A: a\rX-B: b\r\n'),
  'a bare LF after a header': get('X-A: b\nX-B: c\r\n'),
  'a bare LF after the headers': `${get().slice(0, -2)}\n`,
  'bare LFs only': get().replaceAll('\r\n', '\n'),
});

const framing = last('VALIDATION_ERROR', {
  'a length, then chunks': `${get('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n`,
  'chunks, then a length': `${get('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n')}0\r\n\r\n`,
  'two lengths': get('Content-Length: 5\r\nContent-Length: 6\r\n'),
  'the same length twice': get('Content-Length: 0\r\nContent-Length: 0\r\n'),
  'a length with a sign': withLength('+5'),
  'an empty length': withLength(''),
  'a length beyond 64 bits': withLength(`1${'0'.repeat(25)}`),
  'a length with a space before the colon': `${get('Content-Length : 5\r\n')}hello`,
  'a transfer coding other than chunked': chunked('', 'gzip'),
  'the identity coding': chunked('', 'identity'),
  'a coding before chunked': chunked('0\r\n\r\n', 'gzip, chunked'),
  'a coding after chunked': chunked('0\r\n\r\n', 'chunked, identity'),
  'chunked twice, in two headers': chunked('0\r\n\r\n', 'chunked\r\nTransfer-Encoding: chunked'),
  'a coding that ends in chunked': chunked('0\r\n\r\n', 'xchunked'),
  'a vertical tab before chunked': chunked('0\r\n\r\n', '\x0bchunked'),
  'chunked in a folded header': chunked('0\r\n\r\n', '\r\n chunked'),
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
    'the head of a body that is too large': get('Content-Length: 65537\r\n'),
    'a body that is too large': get('Content-Length: 300000\r\n') + long(300_000),
    'a body of 2^53 + 1 bytes': get('Content-Length: 9007199254740993\r\n'),
    'a body that is too large, with Expect': get('Expect: 100-continue\r\nContent-Length: 65537\r\n'),
  }),
];

/** Bodies are not read, so their content has no effect on the response. */
const unread = last('OK', {
  'a chunked body': chunked('5\r\nhello\r\n0\r\n\r\n', 'CHUNKED'),
  'chunks with bare LFs': chunked('5\nhello\n0\n\n'),
  'a chunk longer than its size': chunked('2\r\nhello\r\n0\r\n\r\n'),
  'a chunk size beyond 64 bits': chunked(`${'f'.repeat(17)}\r\n`),
  'a chunk extension that is too long': chunked(`1;${long(30_000)}\r\na\r\n0\r\n\r\n`),
  'framing headers in a trailer': chunked('0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n'),
  'a body with Expect: 100-continue': `${get('Expect: 100-continue\r\nContent-Length: 5\r\n')}hello`,
  'an unknown expectation': get('Expect: a-miracle\r\n'),
  'an upgrade to WebSocket': upgrade('Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n'),
  'an upgrade to HTTP/2': `${upgrade('Upgrade: h2c\r\nHTTP2-Settings: AAMA\r\n')}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
  'an upgrade with a body': `${upgrade('Upgrade: websocket\r\nContent-Length: 5\r\n')}hello`,
  'an upgrade that Connection does not name': get('Upgrade: websocket\r\n'),
  'HTTP/1.0 without a Host': get('', { version: 'HTTP/1.0', host: '' }),
  'Connection: close': get('Connection: close\r\n'),
});

const keptAlive = [
  ...expecting(false, ['OK'], {
    'a request inside the body of another': `${get('Content-Length: 27\r\n')}GET / HTTP/1.1\r\nHost: a\r\n\r\n`,
    'a body with leading zeros in its length': withLength('005'),
    'empty lines before the request': `\r\n\r\n${get()}`,
    'two spaces before the target': get().replace(' ', '  '), // RFC 9112, section 3, allows it.
    'an absolute target': target(`http://gateway.example${campaignPath}`),
    'an absolute target in capitals with a port': target(`HTTPS://GATEWAY.EXAMPLE:443${campaignPath}`),
    'an empty Host': host('Host:\r\n'),
    'a Host with an IPv6 address and a port': host('Host: [::1]:8080\r\n'),
    'a method override header': get('X-HTTP-Method-Override: DELETE\r\n'),
    'headers named in Connection': get('Connection: x-api-key, host\r\n'),
    'a non-ASCII header value': get('X-A: \xe9\r\n'),
    'the maximum number of headers': get('a: b\r\n'.repeat(190)),
  }),
  ...expecting(false, ['METHOD_NOT_ALLOWED'], { 'a body with a POST': withLength('5').replace('GET', 'POST') }),
  ...expecting(false, ['NOT_FOUND'], {
    'an absolute target with a doubled slash': target(`http://a/${campaignPath}`),
    'an absolute target without a path': target('http://a'),
    'a path with a dot segment': target('/v1/accounts/ag_1/campaigns/../campaigns/cmp_1'),
    'an asterisk as target': target('*').replace('GET', 'OPTIONS'),
  }),
  ...expecting(false, ['VALIDATION_ERROR'], { 'a fragment in the target': target(`${campaignPath}#x`) }),
];

const afterValidRequest = expecting(true, ['OK', 'VALIDATION_ERROR'], {
  'a valid request, then garbage': `${get()}NONSENSE\r\n\r\n${smuggled}`,
  'a valid request, then CONNECT': get() + method('CONNECT') + smuggled,
  'a valid request, then one without a Host': get() + host('') + smuggled,
  'a body longer than its length': withLength('3'),
});

export const rawRequests: readonly RawRequest[] = [
  ...[...requestLines, ...headers, ...framing, ...oversized, ...unread, ...keptAlive, ...afterValidRequest],
  ...expecting(true, ['OK'], { 'Connection: close, then garbage': `${get('Connection: close\r\n')}NONSENSE\r\n\r\n` }),
];
