import { isIPv6 } from 'node:net';

/** The URL of a listener. An IPv6 address gets brackets (RFC 3986, section 3.2.2). */
export function formatHttpUrl(host: string, port: number | string): string {
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
