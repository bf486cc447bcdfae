export interface RedisCredentials {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

export interface RedisHost {
  readonly host: string;
  readonly port: number;
}

interface Common {
  readonly credentials: RedisCredentials;
  readonly hasTls: boolean;
  /** The server, the Sentinels, or some nodes of the cluster. */
  readonly hosts: readonly [RedisHost, ...RedisHost[]];
}

/** The parsed form of `REDIS_URL`. */
export type RedisAddress =
  | (Common & { readonly topology: 'single'; readonly database: number })
  | (Common & { readonly topology: 'sentinel'; readonly master: string })
  | (Common & { readonly topology: 'cluster' });

const URL_PATTERN =
  /^(?<scheme>rediss?)(?:\+(?<topology>sentinel|cluster))?:\/\/(?:(?<userInfo>[^@/]*)@)?(?<hosts>[^@/?#]+)(?:\/(?<path>[A-Za-z0-9._-]*))?$/;
const HOST_AND_PORT = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/;

/**
 * Parses `redis://[user:password@]host[:port][/database]`, `redis+sentinel://h1:p1,h2:p2/MASTER` and
 * `redis+cluster://h1:p1,h2:p2`, and the same with `rediss`: TLS to every server, the Sentinels included. Returns undefined for
 * anything else.
 */
export function parseRedisUrl(text: string): RedisAddress | undefined {
  const { scheme, topology = 'single', userInfo, hosts: list = '', path = '' } = URL_PATTERN.exec(text)?.groups ?? {};
  const [first, ...others] = list.split(',').map((host) => parseHost(host, topology === 'sentinel' ? 26379 : 6379));
  const credentials = parseCredentials(userInfo);
  if (!credentials || !first || !others.every((host) => host !== undefined)) return undefined;

  const common = { credentials, hasTls: scheme === 'rediss', hosts: [first, ...others] } as const;
  if (topology === 'sentinel') return path ? { topology, master: path, ...common } : undefined;
  if (topology === 'cluster') return path ? undefined : { topology, ...common };
  if (others.length > 0 || !/^\d{0,3}$/.test(path)) return undefined;
  return { topology: 'single', database: Number(path), ...common };
}

/** For logs and error messages: without user name and password. */
export function describeAddress(address: RedisAddress): string {
  const hosts = formatHosts(address.hosts);
  if (address.topology === 'sentinel') return `Redis master ${address.master} (Sentinel at ${hosts})`;
  return `${address.topology === 'cluster' ? 'Redis Cluster' : 'Redis'} at ${hosts}`;
}

export function formatHosts(hosts: readonly RedisHost[]): string {
  return hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(', ');
}

function parseHost(text: string, defaultPort: number): RedisHost | undefined {
  const [, host, portText = defaultPort] = HOST_AND_PORT.exec(text) ?? [];
  const port = Number(portText);
  if (!host || port < 1 || port > 65_535) return undefined;
  return { host: host.replace(/^\[|\]$/g, ''), port };
}

function parseCredentials(userInfo = ''): RedisCredentials | undefined {
  try {
    const [username = '', ...rest] = userInfo.split(':');
    const password = decodeURIComponent(rest.join(':'));
    return { ...(username && { username: decodeURIComponent(username) }), ...(password && { password }) };
  } catch {
    return undefined;
  }
}
