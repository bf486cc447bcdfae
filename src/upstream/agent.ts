import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { readFileSync } from 'node:fs';
import { type AgentOptions, Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { UpstreamSettings } from './settings.ts';

export type Resolve = (
  host: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** The connection pool to the campaign service. It limits the age of connections, and balances them over the host's addresses. */
export function createAgent(settings: UpstreamSettings, resolve: Resolve = dnsLookup): HttpAgent {
  const options: AgentOptions = {
    keepAlive: true,
    maxSockets: settings.CAMPAIGN_SERVICE_MAX_CONCURRENCY,
    scheduling: 'lifo',
    lookup: rotateAddresses(resolve),
  };
  const pem = (file: string | undefined) => (file === undefined ? undefined : readFileSync(file));
  const agent =
    settings.CAMPAIGN_SERVICE_URL.protocol === 'http:'
      ? new HttpAgent(options)
      : new HttpsAgent({
          ...options,
          ca: pem(settings.CAMPAIGN_SERVICE_CA_FILE),
          cert: pem(settings.CAMPAIGN_SERVICE_CERT_FILE),
          key: pem(settings.CAMPAIGN_SERVICE_KEY_FILE),
        });
  agent.getName = () => 'campaign service'; // All connections go to one origin with the same options.
  const maxAgeMs = settings.CAMPAIGN_SERVICE_CONNECTION_MAX_AGE_MS;
  if (maxAgeMs > 0) limitConnectionAge(agent, maxAgeMs);
  return agent;
}

/** A connection that has reached the maximum age is closed once it is idle. New connections resolve the host again. */
function limitConnectionAge(agent: HttpAgent, maxAgeMs: number): void {
  const createConnection = agent.createConnection.bind(agent);
  const keepSocketAlive = agent.keepSocketAlive.bind(agent);
  const expired = new WeakSet<Duplex>();

  agent.createConnection = (...args) => {
    const socket = createConnection(...args) as Duplex;
    const expire = () => {
      expired.add(socket);
      if (Object.values(agent.freeSockets).some((idle) => idle?.includes(socket as Socket))) socket.destroy();
    };
    // Up to a fifth earlier: connections that were opened together do not end together.
    const timer = setTimeout(expire, maxAgeMs * (1 - Math.random() / 5)).unref();
    socket.once('close', () => clearTimeout(timer));
    return socket;
  };
  // The agent closes the connection if the result is false.
  agent.keepSocketAlive = (socket) => !expired.has(socket) && keepSocketAlive(socket);
}

/** Tries the host's addresses in turn, each connection from the next one on. Node.js tries the others if it cannot connect. */
function rotateAddresses(resolve: Resolve): LookupFunction {
  let turn = 0;
  return (host, options, callback) => {
    resolve(host, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error || !first) return callback(error, addresses);
      // Sorted, because resolvers may rotate too. The address family that the system prefers stays first.
      const preferred = addresses.filter(({ family }) => family === first.family).sort(byAddress);
      const others = addresses.filter(({ family }) => family !== first.family);
      const start = turn++ % preferred.length;
      const rotated = [...preferred.slice(start), ...preferred.slice(0, start), ...others];
      const [{ address, family } = first] = rotated;
      if (options.all) callback(null, rotated);
      else callback(null, address, family);
    });
  };
}

const byAddress = (a: LookupAddress, b: LookupAddress) => (a.address < b.address ? -1 : 1);
