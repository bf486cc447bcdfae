import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import proxyAddr from 'proxy-addr';

/** Express's `trust proxy`: all, none, so many hops, or a list of addresses, networks and their names. */
export type TrustProxy = boolean | number | string;

export function parseTrustProxy(text: string): TrustProxy {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^\d{1,4}$/.test(text) ? Number(text) : text;
}

export function isValidTrustProxy(value: TrustProxy): boolean {
  try {
    compileTrust(value);
    return true;
  } catch {
    return false;
  }
}

/**
 * Reads the client's address. An IPv4 address mapped into IPv6 is given as IPv4; where a trusted proxy vouches for
 * something that is no address, the proxy's own counts.
 */
export function createClientAddressResolver(trustProxy: TrustProxy): (request: IncomingMessage) => string {
  const trust = compileTrust(trustProxy);
  return (request) => {
    const address = trustProxy === false ? request.socket.remoteAddress : proxyAddr(request, trust);
    const usable = address && isIP(address) ? address : (request.socket.remoteAddress ?? 'unknown');
    return usable.replace(/^::ffff:(?=\d+\.)/i, '');
  };
}

/**
 * One subject of the limit on failed keys: an IPv4 address (mapped into IPv6 or not), or the /64 of an IPv6 one, which is
 * one customer's network.
 */
export function throttlingNetwork(address: string): string {
  if (isIP(address) !== 6) return address;
  const [left = [], right] = address
    .replace(/%.*$/, '')
    .split('::')
    .map((half) => half.split(':').filter(Boolean));
  // An IPv4 address at the end stands for two groups.
  const width = left.length + (right?.length ?? 0) + (address.includes('.') ? 1 : 0);
  const groups = [...left, ...Array<string>(8 - width).fill('0'), ...(right ?? [])];
  if (groups.slice(0, 5).every((group) => /^0+$/.test(group)) && /^ffff$/i.test(groups[5] ?? '')) return address;
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}

function compileTrust(value: TrustProxy): (address: string, hop: number) => boolean {
  if (typeof value === 'boolean') return () => value;
  if (typeof value === 'number') return (_address, hop) => hop < value;
  return proxyAddr.compile(value.split(',').map((part) => part.trim()));
}
