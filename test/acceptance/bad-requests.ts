import type { Outcome } from '../helpers/raw-client.ts';
import { campaignPath } from '../helpers/stack.ts';

export interface BadRequest {
  readonly name: string;
  readonly bytes: string;
  /** The answers, in order. */
  readonly answers: readonly Outcome[];
  /** Whether the gateway ends the connection after them. */
  readonly ends: boolean;
  /** Only where the first packet contains the whole request line. */
  readonly inOnePacket?: boolean;
}

const KEY = 'X-API-Key: KEY\r\n';

/** A request for a campaign; `KEY` stands for a valid key. */
function get(headers = '', { target = campaignPath, version = 'HTTP/1.1', host = 'Host: a\r\n' } = {}): string {
  return `GET ${target} ${version}\r\n${host}${KEY}${headers}\r\n`;
}

/** What is smuggled: a request that would be answered with a campaign, were it taken for one. */
const next = get();
const inner = 'GET /inner HTTP/1.1\r\nHost: a\r\n\r\n';
const chunked = (coding = 'chunked') => get(`Transfer-Encoding: ${coding}\r\n`);
const long = (count: number) => 'a'.repeat(count);

/** Refused, with this error; what follows is not answered. */
const refused = (rows: Readonly<Record<string, string>>, answer: Outcome = 'VALIDATION_ERROR'): BadRequest[] =>
  Object.entries(rows).map(([name, bytes]) => ({ name, bytes: bytes + next, answers: [answer], ends: true }));

/** Served, and the connection ends with the answer; what follows is not answered. */
const servedAsLast = (rows: Readonly<Record<string, string>>): BadRequest[] => {
  const answers = ['OK'] as const;
  return Object.entries(rows).map(([name, bytes]) => ({ name, bytes: bytes + next, answers, ends: true }));
};

const answered = (rows: Readonly<Record<string, readonly [bytes: string, ...Outcome[]]>>): BadRequest[] =>
  Object.entries(rows).map(([name, [bytes, ...answers]]) => ({ name, bytes, answers, ends: false }));

const version = (text: string) => get('', { version: text });
const target = (text: string) => get('', { target: text });
const host = (lines: string) => get('', { host: lines });
const method = (text: string) => get().replace('GET', text);

const requestLines = refused({
  // RFC 9110, section 2.5, would have 1.2 served as 1.1; Node's parser refuses it, and nobody speaks it.
  'HTTP/1.2': version('HTTP/1.2'),
  'HTTP/1.9': version('HTTP/1.9'),
  'HTTP/0.9 by its name': version('HTTP/0.9'),
  'HTTP/0.9 by a line without a version': `GET ${campaignPath}\r\n\r\n`,
  'HTTP/2.0': version('HTTP/2.0'),
  'HTTP/3.7': version('HTTP/3.7'),
  'HTTP/1.10': version('HTTP/1.10'),
  'HTTP/01.1': version('HTTP/01.1'),
  'HTTP/1': version('HTTP/1'),
  'http/1.1 in lower case': version('http/1.1'),
  'a version with a space behind it': version('HTTP/1.1 '),
  'the HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'FTP/1.1': version('FTP/1.1'),
  'ICE/1.0': version('ICE/1.0'),
  'a TLS hello': '\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03',
  'bytes that are no text': '\x00\xff\x00\xff\n\r\n\r',
  'no method': ` ${campaignPath} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'an unknown method': method('FETCH'),
  'a method in lower case': method('get'),
  'a method of RTSP': method('DESCRIBE'),
  CONNECT: method('CONNECT'),
  'CONNECT with an authority': `CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n`,
  'no target': target(''),
  'a space in the target': target(`${campaignPath} x`),
  'tabs in the request line': get().replaceAll(' /v1', '\t/v1').replace(' HTTP', '\tHTTP'),
  'a control character in the target': target(`${campaignPath}\x01`),
  'an authority as the target': target('a:80'),
  'a name as the target': target('a'),
  'a query as the target': target(`?${campaignPath}`),
  'a backslash as the target': target(`\\${campaignPath}`),
  'an absolute target without a host': target(`http://${campaignPath}`),
  'an absolute target with a port alone': target(`http://:80${campaignPath}`),
  'an absolute target with a user': target(`http://user@a${campaignPath}`),
  'an absolute target with a password': target(`http://user:secret@a${campaignPath}`),
  'an absolute target with a port that is no number': target(`http://a:x${campaignPath}`),
  'an absolute target with one slash': target(`http:${campaignPath}`),
});

const hosts = refused({
  'no Host': host(''),
  'two Hosts': host('Host: a\r\nHost: b\r\n'),
  'the same Host twice': host('Host: a\r\nHost: a\r\n'),
  'two Hosts in different case': host('Host: a\r\nhOST: b\r\n'),
  'two Hosts in HTTP/1.0': get('Host: b\r\n', { version: 'HTTP/1.0' }),
  'a Host with a slash': host('Host: a/b\r\n'),
  'a Host with a user': host('Host: user@a\r\n'),
  'a Host with a space': host('Host: a b\r\n'),
  'a list of Hosts': host('Host: a, b\r\n'),
  'a Host with a port that is no number': host('Host: a:http\r\n'),
  'a Host with two ports': host('Host: a:80:80\r\n'),
  'a Host with half a percent-encoding': host('Host: %zz\r\n'),
  'a Host that is not ASCII': host('Host: \xe9\r\n'),
  'a Host with an IPv6 address that is none': host('Host: [::::]\r\n'),
  'a Host with half a bracket': host('Host: [::1\r\n'),
  'an absolute target and no Host': get('', { target: `http://a${campaignPath}`, host: '' }),
});

const headers = [
  ...refused({
    'a header without a colon': get('nonsense\r\n'),
    'a space before the colon': get('X-A : b\r\n'),
    'an empty header name': get(': b\r\n'),
    'a header name that is not ASCII': get('X-\xe9: b\r\n'),
    'a header that is folded by a space': get('X-A: b\r\n c\r\n'),
    'a header that is folded by a tab': get('X-A: b\r\n\tc\r\n'),
    'a fold before the first header': host(' Host: a\r\n'),
    'a NUL in a header': get('X-A: a\0b\r\n'),
    'a bare CR in a header': get('X-A: a\rX-B: b\r\n'),
    'a bare CR after the request line': get().replace('\r\n', '\r'),
    'a bare LF after the request line': get().replace('\r\n', '\n'),
    'a bare LF after a header': get('X-A: b\nX-B: c\r\n'),
    'a bare LF after the headers': `${get().slice(0, -2)}\n`,
    'bare LFs alone': get().replaceAll('\r\n', '\n'),
    'CR CR LF': get('X-A: b\r\r\n'),
  }),
  ...refused({ 'too long a header': get(`X-A: ${long(20_000)}\r\n`) }, 'HEADERS_TOO_LARGE'),
  ...refused({ 'too many headers': get('a: b\r\n'.repeat(200)) }, 'HEADERS_TOO_LARGE'),
  ...refused({ 'too long a target': target(`/${long(10_000)}`) }, 'URI_TOO_LONG'),
  ...refused({ 'a target beyond all bounds': target(`/${long(40_000)}`) }, 'URI_TOO_LONG').map((row) => ({
    ...row,
    inOnePacket: true, // Else the parser refuses it before there is a target: 431.
  })),
];

const lengths = (value: string) => `${get(`Content-Length: ${value}\r\n`)}hello`;

const framings = [
  ...refused({
    'a length, then chunks': `${get('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n`,
    'chunks, then a length': `${get('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n')}0\r\n\r\n`,
    'two lengths': get('Content-Length: 5\r\nContent-Length: 6\r\n'),
    'the same length twice': get('Content-Length: 0\r\nContent-Length: 0\r\n'),
    'a list of lengths': lengths('5, 5'),
    'a negative length': lengths('-5'),
    'a length with a sign': lengths('+5'),
    'a length in hexadecimal': lengths('0x5'),
    'a length of two words': lengths('5 5'),
    'an empty length': lengths(''),
    'a length beyond 64 bits': lengths(`1${'0'.repeat(25)}`),
    'a length and a space before its colon': `${get('Content-Length : 5\r\n')}hello`,
    'a transfer coding that is not chunked': chunked('gzip'),
    'a coding before chunked': `${chunked('gzip, chunked')}0\r\n\r\n`,
    'a coding behind chunked': `${chunked('chunked, identity')}0\r\n\r\n`,
    'chunked twice': `${chunked('chunked, chunked')}0\r\n\r\n`,
    'chunked twice, in two headers': `${get('Transfer-Encoding: chunked\r\n'.repeat(2))}0\r\n\r\n`,
    'chunked with a parameter': `${chunked('chunked;a=b')}0\r\n\r\n`,
    'a coding that only looks like chunked': `${chunked('xchunked')}0\r\n\r\n`,
    'chunked behind a vertical tab': `${chunked('\x0bchunked')}0\r\n\r\n`,
    'chunked in a folded header': `${get('Transfer-Encoding:\r\n chunked\r\n')}0\r\n\r\n`,
    'chunked and a space before its colon': `${get('Transfer-Encoding : chunked\r\n')}0\r\n\r\n`,
    'an empty coding': chunked(''),
    'the coding identity': chunked('identity'),
    // RFC 9112, section 6.1: the framing of such a message is faulty.
    'chunks in HTTP/1.0': `${get('Transfer-Encoding: chunked\r\n', { version: 'HTTP/1.0' })}0\r\n\r\n`,
    'chunks in HTTP/1.0 that is kept alive': `${get('Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n', { version: 'HTTP/1.0' })}0\r\n\r\n`,
  }),
  ...refused({ 'too large a body': get('Content-Length: 65537\r\n') }, 'PAYLOAD_TOO_LARGE'),
  ...refused(
    { 'too large a body, all of it sent': get('Content-Length: 300000\r\n') + long(300_000) },
    'PAYLOAD_TOO_LARGE',
  ),
  ...refused({ 'a body of 2^53 + 1 bytes': get('Content-Length: 9007199254740993\r\n') }, 'PAYLOAD_TOO_LARGE'),
  ...refused(
    { 'too large a body that waits to be asked for': get('Expect: 100-continue\r\nContent-Length: 65537\r\n') },
    'PAYLOAD_TOO_LARGE',
  ),
];

/** Of a body nothing is read: the request has its answer, whatever is in it. */
const bodies = servedAsLast({
  'a chunked body': `${chunked()}5\r\nhello\r\n0\r\n\r\n`,
  'chunked in capitals': `${chunked('CHUNKED')}5\r\nhello\r\n0\r\n\r\n`,
  'a large chunked body': `${chunked()}${`1000\r\n${long(4096)}\r\n`.repeat(100)}0\r\n\r\n`,
  'chunks with bare LFs': `${chunked()}5\nhello\n0\n\n`,
  'a chunk whose extension has a bare LF': `${chunked()}5;\nxx\r\nhello\r\n0\r\n\r\n`,
  'a chunk longer than it says': `${chunked()}2\r\nhello\r\n0\r\n\r\n`,
  'a chunk of a negative size': `${chunked()}-1\r\n`,
  'a chunk of a size beyond 64 bits': `${chunked()}${'f'.repeat(17)}\r\n`,
  'a chunk of no size': `${chunked()}zzz\r\n`,
  'too long an extension of a chunk': `${chunked()}1;${long(30_000)}\r\na\r\n0\r\n\r\n`,
  'too long a trailer': `${chunked()}0\r\nX-A: ${long(30_000)}\r\n\r\n`,
  'framing in a trailer': `${chunked()}0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n`,
  'a body that waits to be asked for': `${get('Expect: 100-continue\r\nContent-Length: 5\r\n')}hello`,
  'no body, and to be asked for it': get('Expect: 100-continue\r\n'),
  'another expectation': get('Expect: a-miracle\r\n'),
  'an upgrade to WebSocket': get('Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n'),
  'an upgrade to HTTP/2': `${get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n')}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
  'an upgrade with a body': `${get('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n')}hello`,
  'an upgrade that Connection does not name': get('Upgrade: websocket\r\n'),
  'HTTP/1.0': version('HTTP/1.0'),
  'HTTP/1.0 without a Host': get('', { version: 'HTTP/1.0', host: '' }),
  'Connection: close': get('Connection: close\r\n'),
});

const others = [
  ...answered({
    'a request as it should be': [get(), 'OK'],
    'a request inside the body of another': [get(`Content-Length: ${inner.length}\r\n`) + inner, 'OK'],
    'a small body': [lengths('5'), 'OK'],
    'a length with zeros before it': [lengths('005'), 'OK'],
    'a body with a method that has none here': [lengths('5').replace('GET', 'POST'), 'METHOD_NOT_ALLOWED'],
    'an underscore in the name of a length': [get('Content_Length: 5\r\n'), 'OK'],
    'empty lines before the request': [`\r\n\r\n${get()}`, 'OK'],
    'two spaces before the target': [get().replace(' ', '  '), 'OK'], // RFC 9112, section 3, allows it.
    'an absolute target': [target(`http://gateway.example${campaignPath}`), 'OK'],
    'an absolute target in capitals, with a port': [target(`HTTPS://GATEWAY.EXAMPLE:443${campaignPath}`), 'OK'],
    'an absolute target of another path': [target(`http://a/${campaignPath}`), 'NOT_FOUND'],
    'an absolute target without a path': [target('http://a'), 'NOT_FOUND'],
    'an absolute target of another scheme': [target(`ftp://a${campaignPath}`), 'NOT_FOUND'],
    'a path with a dot segment': [target('/v1/accounts/ag_1/campaigns/../campaigns/cmp_1'), 'NOT_FOUND'],
    'a doubled slash': [target(`/${campaignPath}`), 'NOT_FOUND'],
    'an asterisk as the target': [target('*').replace('GET', 'OPTIONS'), 'NOT_FOUND'],
    'a fragment in the target': [target(`${campaignPath}#x`), 'VALIDATION_ERROR'],
    'a Host that is empty': [host('Host:\r\n'), 'OK'],
    'a Host with an IPv6 address and a port': [host('Host: [::1]:8080\r\n'), 'OK'],
    'a key twice': [get('X-API-Key: another\r\n'), 'UNAUTHORIZED'],
    'a method that the headers override': [get('X-HTTP-Method-Override: DELETE\r\n'), 'OK'],
    'headers that Connection gives up': [get('Connection: x-api-key, host\r\n'), 'OK'],
    'a header that is not ASCII': [get('X-A: \xe9\r\n'), 'OK'],
    'as many headers as fit': [get('a: b\r\n'.repeat(190)), 'OK'],
  }),
  {
    name: 'a good request, then nonsense',
    bytes: `${get()}NONSENSE\r\n\r\n${next}`,
    answers: ['OK', 'VALIDATION_ERROR'],
    ends: true,
  },
  {
    name: 'a good request, then CONNECT',
    bytes: get() + method('CONNECT') + next,
    answers: ['OK', 'VALIDATION_ERROR'],
    ends: true,
  },
  {
    name: 'a good request, then one without a Host',
    bytes: get() + host('') + next,
    answers: ['OK', 'VALIDATION_ERROR'],
    ends: true,
  },
  {
    name: 'a good request, then both framings',
    bytes: `${get()}${get('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n${next}`,
    answers: ['OK', 'VALIDATION_ERROR'],
    ends: true,
  },
  {
    name: 'the last request, then nonsense',
    bytes: `${get('Connection: close\r\n')}NONSENSE\r\n\r\n`,
    answers: ['OK'],
    ends: true,
  },
  { name: 'a body that is longer than it says', bytes: lengths('3'), answers: ['OK', 'VALIDATION_ERROR'], ends: true },
] satisfies BadRequest[];

export const badRequests: readonly BadRequest[] = [
  ...requestLines,
  ...hosts,
  ...headers,
  ...framings,
  ...bodies,
  ...others,
];
