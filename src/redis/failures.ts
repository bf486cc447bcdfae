import { TimeoutError } from './timeout.ts';
import { describeAddress, formatHosts, type RedisAddress } from './url.ts';

/** The kinds of failure, each as a predicate of a sentence, with advice for the operator after the colon. */
const predicates = {
  auth: 'rejects the user name or password: check those in REDIS_URL',
  permission: 'denies its user a permission: compare the ACL with the one in config/README.md',
  database: 'has no such database: check the number at the end of REDIS_URL',
  out_of_memory: 'is out of memory and rejects writes: free memory or raise maxmemory',
  persistence: 'cannot save its data to disk and rejects writes: check its disk and log',
  no_replicas: 'rejects writes because too few replicas are connected',
  read_only: 'is a read-only replica',
  loading: 'is loading its data',
  busy: 'is busy with a script that runs for too long',
  no_script: 'has lost a script',
  wrong_type: 'holds a value of another type under this key',
  cluster_down: 'belongs to a cluster that is down',
  too_many_clients: 'has reached its maximum number of clients',
  error_reply: 'returned an error',
  timeout: 'did not reply in time',
  connection_refused: 'refused the connection',
  host_not_found: 'cannot be found: its host name does not resolve',
  unreachable: 'cannot be reached over the network',
  tls: 'failed the TLS handshake: check REDIS_CA_FILE, REDIS_CERT_FILE and the scheme of REDIS_URL',
  protocol: 'does not speak the Redis protocol: check the port and the scheme of REDIS_URL',
  unknown_master: 'knows no such master',
  closed: 'closed the connection',
} as const;

export type RedisFailure = keyof typeof predicates;

/** Error codes of Redis and of Node.js. */
const codes: Readonly<Record<string, RedisFailure>> = {
  WRONGPASS: 'auth',
  NOAUTH: 'auth',
  NOPERM: 'permission',
  OOM: 'out_of_memory',
  MISCONF: 'persistence',
  NOREPLICAS: 'no_replicas',
  READONLY: 'read_only',
  MASTERDOWN: 'read_only',
  LOADING: 'loading',
  BUSY: 'busy',
  NOSCRIPT: 'no_script',
  WRONGTYPE: 'wrong_type',
  CLUSTERDOWN: 'cluster_down',
  ETIMEDOUT: 'timeout',
  ECONNREFUSED: 'connection_refused',
  ENOTFOUND: 'host_not_found',
  EAI_AGAIN: 'host_not_found',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EPROTO: 'tls',
};

/** Errors that no code identifies. */
const phrases: readonly (readonly [RegExp, RedisFailure])[] = [
  [/user executing the script|ACL failure|has no permissions/i, 'permission'],
  [/invalid password|without any password configured/i, 'auth'],
  [/DB index|SELECT is not allowed/i, 'database'],
  [/max number of clients/i, 'too_many_clients'],
  [/certificate|\b(?:SSL|TLS)\b|_(?:SSL|TLS)_/i, 'tls'],
  [/Protocol error|unexpected byte|reply type/i, 'protocol'],
  [/timeout|timed out/i, 'timeout'],
];

/**
 * Classifies an error of ioredis, of a socket, or a reply. The one place that reads error texts. Redis 6.2 wraps the error of a
 * script: `ERR Error running script (call to f_…): @user_script:1: @user_script: 1: -READONLY You can't write …`.
 */
export function classifyRedisFailure(error: unknown): RedisFailure {
  const cause = unwrap(error);
  if (cause instanceof TimeoutError) return 'timeout';
  const code = findErrorCode(cause);
  if (code && codes[code]) return codes[code];
  const text = `${code ?? ''} ${cause.message}`;
  const match = phrases.find(([pattern]) => pattern.test(text));
  if (match) return match[1];
  if (isErrorReply(cause)) return 'error_reply';
  return isSentinelFailure(cause) && !cause.message.includes('Last error') ? 'unknown_master' : 'closed';
}

/**
 * One sentence without a period: what failed, where, and what to do. It quotes nothing but error codes and command names,
 * because a reply may repeat arguments.
 */
export function describeRedisFailure(error: unknown, address: RedisAddress): string {
  const cause = unwrap(error);
  const failure = classifyRedisFailure(cause);
  const code = findErrorCode(cause);
  const subject = isSentinelFailure(error) ? describeSentinels(address) : describeAddress(address);
  const details = [code, describeCommand(cause, failure)].filter((detail) => detail !== undefined);
  const [predicate, advice] = predicates[failure].split(': ') as [string, string?];
  const what = details.length > 0 ? `${predicate} (${details.join(', ')})` : predicate;
  return `${subject} ${what}${advice ? `: ${advice}` : ''}`;
}

export function isErrorReply(error: unknown): error is Error & { command?: { name?: string } } {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Whether Redis certainly did not execute the command: it returned an error, or every cluster node redirected it. */
export function isCertainlyNotExecuted(error: unknown): boolean {
  return isErrorReply(error) || (error instanceof Error && error.message.startsWith('Too many Cluster redirections'));
}

/** Every Sentinel has failed, or knows no such master if there is no last error. */
function isSentinelFailure(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('All sentinels are unreachable');
}

function describeSentinels(address: RedisAddress): string {
  if (address.topology !== 'sentinel') return describeAddress(address);
  return `Sentinel of master ${address.master} at ${formatHosts(address.hosts)}`;
}

/** A cluster client adds the error of the last node that it tried, and `connect.ts` that of the last Sentinel. */
function unwrap(error: unknown): Error {
  const nested = (error as { lastNodeError?: unknown } | undefined)?.lastNodeError;
  if (nested instanceof Error) return unwrap(nested);
  return error instanceof Error ? error : new Error(String(error));
}

/** The known code, or the first one. A reply has it at its beginning or after a hyphen, and may quote arguments elsewhere. */
export function findErrorCode(cause: unknown): string | undefined {
  const error: Error & { code?: unknown } = unwrap(cause);
  const own = typeof error.code === 'string' ? [error.code] : [];
  const pattern = isErrorReply(error) ? /(?:^|\s-)([A-Z]{2,})\b/g : /\b(E[A-Z_]{4,}|[A-Z]{3,})\b/g;
  const found = [...own, ...Array.from(error.message.matchAll(pattern), ([, code = '']) => code)];
  return found.find((code) => codes[code]) ?? (isErrorReply(error) ? found[0] : own[0]);
}

/** The command, if its name helps to find the cause. */
function describeCommand(error: Error, failure: RedisFailure): string | undefined {
  const isRelevant = failure === 'permission' || failure === 'database' || failure === 'error_reply';
  return isRelevant && isErrorReply(error) ? error.command?.name?.toUpperCase() : undefined;
}
