import { campaignPath } from '../helpers/stack.ts';
import { get, host, long, method, type RawRequest, rejected, target, version } from './raw-requests.ts';

const requestLines = rejected({
  // RFC 9110, section 2.5, treats 1.2 as 1.1. Node's parser rejects it, and no client sends it.
  'HTTP/1.2': version('HTTP/1.2'),
  'HTTP/1.9': version('HTTP/1.9'),
  'HTTP/0.9 as a version': version('HTTP/0.9'),
  'HTTP/0.9 without a version': `GET ${campaignPath}\r\n\r\n`,
  'HTTP/2.0': version('HTTP/2.0'),
  'HTTP/3.7': version('HTTP/3.7'),
  'HTTP/1.10': version('HTTP/1.10'),
  'HTTP/01.1': version('HTTP/01.1'),
  'HTTP/1': version('HTTP/1'),
  'a lower-case version': version('http/1.1'),
  'a space after the version': version('HTTP/1.1 '),
  'the HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'FTP/1.1': version('FTP/1.1'),
  'ICE/1.0': version('ICE/1.0'),
  'a TLS ClientHello': '\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03',
  'binary data': '\x00\xff\x00\xff\n\r\n\r',
  'no method': ` ${campaignPath} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'an unknown method': method('FETCH'),
  'a lower-case method': method('get'),
  'an RTSP method': method('DESCRIBE'),
  CONNECT: method('CONNECT'),
  'CONNECT with an authority': `CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n`,
  'no target': target(''),
  'a space in the target': target(`${campaignPath} x`),
  'tabs in the request line': get().replaceAll(' /v1', '\t/v1').replace(' HTTP', '\tHTTP'),
  'a control character in the target': target(`${campaignPath}\x01`),
  'an authority as target': target('a:80'),
  'a name as target': target('a'),
  'a query as target': target(`?${campaignPath}`),
  'a backslash at the start of the target': target(`\\${campaignPath}`),
  // Express would serve the path of any URI.
  'an absolute target with another scheme': target(`ftp://a${campaignPath}`),
  'an absolute target without a host': target(`http://${campaignPath}`),
  'an absolute target with only a port': target(`http://:80${campaignPath}`),
  'an absolute target with a user': target(`http://user@a${campaignPath}`),
  'an absolute target with a password': target(`http://user:secret@a${campaignPath}`),
  'an absolute target with a non-numeric port': target(`http://a:x${campaignPath}`),
  'an absolute target with one slash': target(`http:${campaignPath}`),
});

const hosts = rejected({
  'no Host': host(''),
  'two Hosts': host('Host: a\r\nHost: b\r\n'),
  'the same Host twice': host('Host: a\r\nHost: a\r\n'),
  'two Hosts in different case': host('Host: a\r\nhOST: b\r\n'),
  'two Hosts in HTTP/1.0': get('Host: b\r\n', { version: 'HTTP/1.0' }),
  'a Host with a slash': host('Host: a/b\r\n'),
  'a Host with a user': host('Host: user@a\r\n'),
  'a Host with a space': host('Host: a b\r\n'),
  'a list of Hosts': host('Host: a, b\r\n'),
  'a Host with a non-numeric port': host('Host: a:http\r\n'),
  'a Host with two ports': host('Host: a:80:80\r\n'),
  'a Host with invalid percent-encoding': host('Host: %zz\r\n'),
  'a non-ASCII Host': host('Host: \xe9\r\n'),
  'a Host with an invalid IPv6 address': host('Host: [::::]\r\n'),
  'a Host with an unclosed bracket': host('Host: [::1\r\n'),
  'an absolute target without a Host': get('', { target: `http://a${campaignPath}`, host: '' }),
});

const headers = rejected({
  'a header without a colon': get('nonsense\r\n'),
  'a space before the colon': get('X-A : b\r\n'),
  'an empty header name': get(': b\r\n'),
  'a non-ASCII header name': get('X-\xe9: b\r\n'),
  'a header folded with a space': get('X-A: b\r\n c\r\n'),
  'a header folded with a tab': get('X-A: b\r\n\tc\r\n'),
  'a space before the first header': host(' Host: a\r\n'),
  'a NUL in a header': get('X-A: a\0b\r\n'),
  'a bare CR in a header': get('X-A: a\rX-B: b\r\n'),
  'a bare CR after the request line': get().replace('\r\n', '\r'),
  'a bare LF after the request line': get().replace('\r\n', '\n'),
  'a bare LF after a header': get('X-A: b\nX-B: c\r\n'),
  'a bare LF after the headers': `${get().slice(0, -2)}\n`,
  'bare LFs only': get().replaceAll('\r\n', '\n'),
  'CR CR LF': get('X-A: b\r\r\n'),
});

const oversized = [
  ...rejected({ 'a header that is too long': get(`X-A: ${long(20_000)}\r\n`) }, 'HEADERS_TOO_LARGE'),
  ...rejected({ 'too many headers': get('a: b\r\n'.repeat(200)) }, 'HEADERS_TOO_LARGE'),
  ...rejected({ 'a target that is too long': target(`/${long(10_000)}`) }, 'URI_TOO_LONG'),
  // In several packets the parser rejects it before it has a target, with 431.
  ...rejected({ 'a target longer than all headers': target(`/${long(40_000)}`) }, 'URI_TOO_LONG').map((row) => ({
    ...row,
    inOnePacket: true,
  })),
];

export const malformedHeads: readonly RawRequest[] = [...requestLines, ...hosts, ...headers, ...oversized];
