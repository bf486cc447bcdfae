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
  | {
      readonly topology: 'single';
      readonly options: Credentials & Node & { db: number; tls?: object };
    }
  | {
      readonly topology: 'sentinel';
      readonly options: Credentials & { sentinels: Node[]; name: string };
    }
  | {
      readonly topology: 'cluster';
      readonly nodes: Node[];
      readonly options: Credentials;
    };

const URL_PATTERN =
  /^(redis|rediss|redis\+sentinel|redis\+cluster):\/\/(?:([^@/]*)@)?([^@/?#]+)(?:\/([A-Za-z0-9._-]*))?$/;
const HOST_AND_PORT = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/;

/**
 * Parses `redis://` and `rediss://` (each `[user:password@]host[:port][/database]`), `redis+sentinel://h1:p1,h2:p2/MASTER`
 * and `redis+cluster://h1:p1,h2:p2`. Returns undefined for anything else.
 */
export function parseRedisUrl(text: string): RedisAddress | undefined {
  const match = URL_PATTERN.exec(text);
  if (!match) return undefined;
  const [, scheme, userInfo, hostList, path] = match as unknown as [
    string,
    string,
    string | undefined,
    string,
    string | undefined,
  ];
  const hosts = hostList.split(',').map((host) => parseHost(host, scheme === 'redis+sentinel' ? 26379 : 6379));
  const credentials = parseCredentials(userInfo);
  const nodes = hosts.filter((node) => node !== undefined);
  const [first] = nodes;
  if (!first || nodes.length !== hosts.length || !credentials) return undefined;

  switch (scheme) {
    case 'redis+sentinel':
      return path
        ? {
            topology: 'sentinel',
            options: { ...credentials, sentinels: nodes, name: path },
          }
        : undefined;
    case 'redis+cluster':
      return path ? undefined : { topology: 'cluster', nodes, options: credentials };
    default: {
      if (nodes.length !== 1 || !/^\d{0,3}$/.test(path ?? '')) return undefined;
      const tls = scheme === 'rediss' ? { tls: {} } : {};
      return {
        topology: 'single',
        options: { ...credentials, ...first, ...tls, db: Number(path ?? 0) },
      };
    }
  }
}

function parseHost(text: string, defaultPort: number): Node | undefined {
  const match = HOST_AND_PORT.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (!match?.[1] || port < 1 || port > 65_535) return undefined;
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
}

function parseCredentials(userInfo: string | undefined): Credentials | undefined {
  if (userInfo === undefined) return {};
  try {
    const colon = userInfo.indexOf(':');
    const username = decodeURIComponent(colon < 0 ? userInfo : userInfo.slice(0, colon));
    const password = colon < 0 ? undefined : decodeURIComponent(userInfo.slice(colon + 1));
    return { ...(username && { username }), ...(password && { password }) };
  } catch {
    return undefined;
  }
}
