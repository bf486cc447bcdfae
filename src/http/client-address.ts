import { isIP } from 'node:net';
import express, { type Request } from 'express';
import ipaddr from 'ipaddr.js';

/** Express's `trust proxy`: all, none, a number of hops, or a list of addresses, networks and their names. */
export type TrustProxy = boolean | number | string;

export function parseTrustProxy(text: string): TrustProxy {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^\d{1,4}$/.test(text) ? Number(text) : text;
}

export function isValidTrustProxy(value: TrustProxy): boolean {
  try {
    express().set('trust proxy', value);
    return true;
  } catch {
    return false;
  }
}

const WITH_PORT_OR_BRACKETS = /^(?:\[([^\]]*)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5})$/;

/**
 * Removes ports and brackets from the addresses of an `X-Forwarded-For`: some load balancers send `203.0.113.9:4711` and
 * `[2001:db8::1]:4711`, which Express does not recognize as trusted addresses.
 */
function removePorts(forwardedFor: string): string {
  if (!forwardedFor.includes(':')) return forwardedFor;
  const addresses = forwardedFor.split(',').map((part) => part.trim().replace(WITH_PORT_OR_BRACKETS, '$1$2'));
  return addresses.join(', ');
}

/**
 * The client's address as Express determines it, IPv4-mapped IPv6 addresses as IPv4. If a trusted proxy reports something
 * that is not an address, the proxy's own address counts.
 */
export function getClientAddress(request: Pick<Request, 'headers' | 'ip' | 'socket'>): string {
  const forwardedFor = request.headers['x-forwarded-for'];
  if (typeof forwardedFor === 'string') request.headers['x-forwarded-for'] = removePorts(forwardedFor); // `ip` reads it.
  const { ip } = request;
  const address = ip !== undefined && isIP(ip) ? ip : (request.socket.remoteAddress ?? 'unknown');
  return address.startsWith('::') ? address.replace(/^::ffff:(?=\d+\.)/i, '') : address;
}

/** The unit that the failed-key limit counts: an IPv4 address, or the /64 network of an IPv6 address, usually one customer. */
export function throttlingNetwork(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (parsed instanceof ipaddr.IPv4) return parsed.toString();
  const network = parsed.parts.slice(0, 4).map((part) => part.toString(16));
  return `${network.join(':')}::/64`;
}
