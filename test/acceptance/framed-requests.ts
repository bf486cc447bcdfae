import { campaignPath } from '../helpers/stack.ts';
import {
  get,
  host,
  keptAlive,
  long,
  method,
  next,
  type RawRequest,
  rejected,
  servedAsLast,
  target,
  version,
} from './raw-requests.ts';

const inner = 'GET /inner HTTP/1.1\r\nHost: a\r\n\r\n';
const chunked = (coding = 'chunked') => get(`Transfer-Encoding: ${coding}\r\n`);
const withLength = (value: string) => `${get(`Content-Length: ${value}\r\n`)}hello`;
const bothFramings = `${get('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n`;

const malformedFraming = rejected({
  'a length, then chunks': bothFramings,
  'chunks, then a length': `${get('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n')}0\r\n\r\n`,
  'two lengths': get('Content-Length: 5\r\nContent-Length: 6\r\n'),
  'the same length twice': get('Content-Length: 0\r\nContent-Length: 0\r\n'),
  'a list of lengths': withLength('5, 5'),
  'a negative length': withLength('-5'),
  'a length with a sign': withLength('+5'),
  'a hexadecimal length': withLength('0x5'),
  'a length with a space': withLength('5 5'),
  'an empty length': withLength(''),
  'a length beyond 64 bits': withLength(`1${'0'.repeat(25)}`),
  'a length with a space before the colon': `${get('Content-Length : 5\r\n')}hello`,
  'a transfer coding other than chunked': chunked('gzip'),
  'a coding before chunked': `${chunked('gzip, chunked')}0\r\n\r\n`,
  'a coding after chunked': `${chunked('chunked, identity')}0\r\n\r\n`,
  'chunked twice': `${chunked('chunked, chunked')}0\r\n\r\n`,
  'chunked twice, in two headers': `${get('Transfer-Encoding: chunked\r\n'.repeat(2))}0\r\n\r\n`,
  'chunked with a parameter': `${chunked('chunked;a=b')}0\r\n\r\n`,
  'a coding that ends in chunked': `${chunked('xchunked')}0\r\n\r\n`,
  'a vertical tab before chunked': `${chunked('\x0bchunked')}0\r\n\r\n`,
  'chunked in a folded header': `${get('Transfer-Encoding:\r\n chunked\r\n')}0\r\n\r\n`,
  'chunked with a space before the colon': `${get('Transfer-Encoding : chunked\r\n')}0\r\n\r\n`,
  'an empty coding': chunked(''),
  'the identity coding': chunked('identity'),
  // RFC 9112, section 6.1: such a message has faulty framing.
  'chunks in HTTP/1.0': `${get('Transfer-Encoding: chunked\r\n', { version: 'HTTP/1.0' })}0\r\n\r\n`,
  'chunks in HTTP/1.0 with keep-alive': `${get('Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n', { version: 'HTTP/1.0' })}0\r\n\r\n`,
});

const oversizedBodies = rejected(
  {
    'the head of a body that is too large': get('Content-Length: 65537\r\n'),
    'a body that is too large': get('Content-Length: 300000\r\n') + long(300_000),
    'a body of 2^53 + 1 bytes': get('Content-Length: 9007199254740993\r\n'),
    'a body that is too large, with Expect': get('Expect: 100-continue\r\nContent-Length: 65537\r\n'),
  },
  'PAYLOAD_TOO_LARGE',
);

/** Bodies are not read, so their content has no effect on the response. */
const unreadBodies = servedAsLast({
  'a chunked body': `${chunked()}5\r\nhello\r\n0\r\n\r\n`,
  'chunked in capitals': `${chunked('CHUNKED')}5\r\nhello\r\n0\r\n\r\n`,
  'a large chunked body': `${chunked()}${`1000\r\n${long(4096)}\r\n`.repeat(100)}0\r\n\r\n`,
  'chunks with bare LFs': `${chunked()}5\nhello\n0\n\n`,
  'a chunk extension with a bare LF': `${chunked()}5;\nxx\r\nhello\r\n0\r\n\r\n`,
  'a chunk longer than its size': `${chunked()}2\r\nhello\r\n0\r\n\r\n`,
  'a negative chunk size': `${chunked()}-1\r\n`,
  'a chunk size beyond 64 bits': `${chunked()}${'f'.repeat(17)}\r\n`,
  'a non-numeric chunk size': `${chunked()}zzz\r\n`,
  'a chunk extension that is too long': `${chunked()}1;${long(30_000)}\r\na\r\n0\r\n\r\n`,
  'a trailer that is too long': `${chunked()}0\r\nX-A: ${long(30_000)}\r\n\r\n`,
  'framing headers in a trailer': `${chunked()}0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n`,
  'a body with Expect: 100-continue': `${get('Expect: 100-continue\r\nContent-Length: 5\r\n')}hello`,
  'Expect: 100-continue without a body': get('Expect: 100-continue\r\n'),
  'an unknown expectation': get('Expect: a-miracle\r\n'),
  'an upgrade to WebSocket': get('Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n'),
  'an upgrade to HTTP/2': `${get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n')}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
  'an upgrade with a body': `${get('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n')}hello`,
  'an upgrade that Connection does not name': get('Upgrade: websocket\r\n'),
  'HTTP/1.0': version('HTTP/1.0'),
  'HTTP/1.0 without a Host': get('', { version: 'HTTP/1.0', host: '' }),
  'Connection: close': get('Connection: close\r\n'),
});

const accepted = keptAlive({
  'a valid request': [get(), 'OK'],
  'a request inside the body of another': [get(`Content-Length: ${inner.length}\r\n`) + inner, 'OK'],
  'a small body': [withLength('5'), 'OK'],
  'a length with leading zeros': [withLength('005'), 'OK'],
  'a body with an unsupported method': [withLength('5').replace('GET', 'POST'), 'METHOD_NOT_ALLOWED'],
  'Content_Length with an underscore': [get('Content_Length: 5\r\n'), 'OK'],
  'empty lines before the request': [`\r\n\r\n${get()}`, 'OK'],
  'two spaces before the target': [get().replace(' ', '  '), 'OK'], // RFC 9112, section 3, allows it.
  'an absolute target': [target(`http://gateway.example${campaignPath}`), 'OK'],
  'an absolute target in capitals with a port': [target(`HTTPS://GATEWAY.EXAMPLE:443${campaignPath}`), 'OK'],
  'an absolute target with another path': [target(`http://a/${campaignPath}`), 'NOT_FOUND'],
  'an absolute target without a path': [target('http://a'), 'NOT_FOUND'],
  'a path with a dot segment': [target('/v1/accounts/ag_1/campaigns/../campaigns/cmp_1'), 'NOT_FOUND'],
  'a doubled slash': [target(`/${campaignPath}`), 'NOT_FOUND'],
  'an asterisk as target': [target('*').replace('GET', 'OPTIONS'), 'NOT_FOUND'],
  'a fragment in the target': [target(`${campaignPath}#x`), 'VALIDATION_ERROR'],
  'an empty Host': [host('Host:\r\n'), 'OK'],
  'a Host with an IPv6 address and a port': [host('Host: [::1]:8080\r\n'), 'OK'],
  'two keys': [get('X-API-Key: another\r\n'), 'UNAUTHORIZED'],
  'a method override header': [get('X-HTTP-Method-Override: DELETE\r\n'), 'OK'],
  'headers named in Connection': [get('Connection: x-api-key, host\r\n'), 'OK'],
  'a non-ASCII header value': [get('X-A: \xe9\r\n'), 'OK'],
  'the maximum number of headers': [get('a: b\r\n'.repeat(190)), 'OK'],
});

const afterValidRequest = {
  garbage: `NONSENSE\r\n\r\n${next}`,
  CONNECT: method('CONNECT') + next,
  'a request without a Host': host('') + next,
  'a request with both framings': bothFramings + next,
};

export const framedRequests: readonly RawRequest[] = [
  ...malformedFraming,
  ...oversizedBodies,
  ...unreadBodies,
  ...accepted,
  ...Object.entries(afterValidRequest).map(([name, bytes]) => ({
    name: `a valid request, then ${name}`,
    bytes: get() + bytes,
    responses: ['OK', 'VALIDATION_ERROR'] as const,
    closes: true,
  })),
  {
    name: 'a request with Connection: close, then garbage',
    bytes: `${get('Connection: close\r\n')}NONSENSE\r\n\r\n`,
    responses: ['OK'],
    closes: true,
  },
  {
    name: 'a body longer than its length',
    bytes: withLength('3'),
    responses: ['OK', 'VALIDATION_ERROR'],
    closes: true,
  },
];
