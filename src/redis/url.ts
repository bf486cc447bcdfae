interface Credentials {
  username?: string;
  password?: string;
}

interface Node {
  host: string;
  port: number;
}

/** The parsed form of `REDIS_URL`. */
export type RedisAddress =
  | { readonly topology: 'single'; readonly options: Credentials & Node & { db: number; tls?: object } }
  | { readonly topology: 'sentinel'; readonly options: Credentials & { sentinels: Node[]; name: string } }
  | { readonly topology: 'cluster'; readonly options: Credentials; readonly nodes: Node[] };

const URL_PATTERN =
  /^(?<scheme>rediss?|redis\+sentinel|redis\+cluster):\/\/(?:(?<userInfo>[^@/]*)@)?(?<hosts>[^@/?#]+)(?:\/(?<path>[A-Za-z0-9._-]*))?$/;
const HOST_AND_PORT = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/;

/**
 * Parses `redis://` and `rediss://` (each `[user:password@]host[:port][/database]`), `redis+sentinel://h1:p1,h2:p2/MASTER`
 * and `redis+cluster://h1:p1,h2:p2`. Returns undefined for anything else.
 */
export function parseRedisUrl(text: string): RedisAddress | undefined {
  const { scheme, userInfo, hosts = '', path = '' } = URL_PATTERN.exec(text)?.groups ?? {};
  const nodes = hosts.split(',').map((host) => parseHost(host, scheme === 'redis+sentinel' ? 26379 : 6379));
  const credentials = parseCredentials(userInfo);
  if (!credentials || !nodes.every((node) => node !== undefined)) return undefined;

  if (scheme === 'redis+sentinel') {
    return path ? { topology: 'sentinel', options: { ...credentials, sentinels: nodes, name: path } } : undefined;
  }
  if (scheme === 'redis+cluster') return path ? undefined : { topology: 'cluster', options: credentials, nodes };
  const [node, ...others] = nodes;
  if (!node || others.length > 0 || !/^\d{0,3}$/.test(path)) return undefined;
  const tls = scheme === 'rediss' ? { tls: {} } : {};
  return { topology: 'single', options: { ...credentials, ...node, ...tls, db: Number(path) } };
}

function parseHost(text: string, defaultPort: number): Node | undefined {
  const [, host, portText = defaultPort] = HOST_AND_PORT.exec(text) ?? [];
  const port = Number(portText);
  if (!host || port < 1 || port > 65_535) return undefined;
  return { host: host.replace(/^\[|\]$/g, ''), port };
}

function parseCredentials(userInfo = ''): Credentials | undefined {
  try {
    const [username = '', ...rest] = userInfo.split(':');
    const password = decodeURIComponent(rest.join(':'));
    return { ...(username && { username: decodeURIComponent(username) }), ...(password && { password }) };
  } catch {
    return undefined;
  }
}
