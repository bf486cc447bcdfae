import { isIPv6 } from 'node:net';

/** The URL of a listener. An IPv6 address gets brackets (RFC 3986, section 3.2.2). */
export function formatHttpUrl(host: string, port: number | string): string {
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

const LOOPBACK: Readonly<Record<string, string>> = { '': '127.0.0.1', '0.0.0.0': '127.0.0.1', '::': '::1' };

/** The URL under which a process on the same machine reaches a listener. A listener on all addresses is on loopback too. */
export function formatLocalUrl(host: string, port: number | string): string {
  return formatHttpUrl(LOOPBACK[host] ?? host, port);
}
