import type { Logger } from 'pino';
import type { Purge } from '../cache/entry.ts';
import { cachePolicy } from '../cache/freshness.ts';
import type { Settings } from '../settings.ts';
import { keyLookupCounter, limitDecisionCounters, showProcesses, showRedisState } from '../telemetry/store-metrics.ts';
import { RedisEntries } from './cache/redis-entries.ts';
import { RedisPurges } from './cache/redis-purges.ts';
import { noSharedEntries, type SharedEntries } from './cache/shared-entries.ts';
import { ChangeFeed } from './changes/change-feed.ts';
import { FileChanges } from './changes/file-changes.ts';
import { RedisChanges } from './changes/redis-changes.ts';
import { Heartbeat } from './heartbeat.ts';
import { CachedKeys } from './keys/cached-keys.ts';
import { FileKeyUses } from './keys/file-key-uses.ts';
import { FileKeys } from './keys/file-keys.ts';
import type { KeyLookup, KeyStore } from './keys/key-store.ts';
import type { KeyUses } from './keys/key-uses.ts';
import { RedisKeyUses } from './keys/redis-key-uses.ts';
import { RedisKeys } from './keys/redis-keys.ts';
import { UseNotes } from './keys/use-notes.ts';
import { FallbackLimits } from './limits/fallback-limits.ts';
import type { Limits } from './limits/limits.ts';
import { MemoryLimits } from './limits/memory-limits.ts';
import { RedisLimits } from './limits/redis-limits.ts';
import { SpentLimits } from './limits/spent-limits.ts';
import { RedisLink, type RedisState } from './redis-link.ts';
import { parseRedisUrl } from './redis-url.ts';

/** What a gateway process keeps and shares. */
export interface Stores {
  readonly keys: KeyLookup;
  /** Told of every use of a key. */
  readonly uses: Pick<UseNotes, 'note'>;
  /** Limits of keys. */
  readonly limits: Limits;
  /** Limits of client addresses on failed keys. */
  readonly failures: Limits;
  /** Whether the limit of a client address is used up, as far as this process knows. */
  isSpent(id: string): boolean;
  /** Cache entries that all gateways share. */
  readonly entries: SharedEntries;
  readonly changes: ChangeFeed;
  /** What `readyz` says of the store. */
  state(): 'embedded' | RedisState;
  close(): Promise<void>;
}

type StoreSettings = Pick<Settings, 'REDIS_URL' | 'REDIS_KEY_PREFIX' | 'KEYS_FILE'>;

/** How long a start waits for Redis before it goes on without. */
const START_PATIENCE_MS = 2000;

/** Redis where `REDIS_URL` says so, else the stores of a single process. A Redis that is away is no reason not to start. */
export async function openStores(settings: Settings, log: Logger): Promise<Stores> {
  const link = openLink(settings, log);
  return link ? openShared(link, settings) : openEmbedded(settings, log);
}

/** What is kept of keys, for the command line, which can wait longer for Redis than a request can. */
export async function openKeyStore(
  settings: StoreSettings,
  log: Logger,
): Promise<{ keys: KeyStore; uses: KeyUses; close(): Promise<void> }> {
  const link = openLink(settings, log, { deadlineMs: START_PATIENCE_MS });
  await link?.started(START_PATIENCE_MS);
  const file = settings.KEYS_FILE;
  return {
    keys: link ? new RedisKeys(link, new RedisChanges(link)) : new FileKeys(file),
    uses: link ? new RedisKeyUses(link) : new FileKeyUses(file),
    close: async () => link?.close(),
  };
}

/** What `explain` looks into, counting nothing. Undefined: it is in the memory of each gateway process. */
export interface Inspection {
  readonly keys: KeyStore;
  readonly peekLimits: RedisLimits['peek'] | undefined;
  readonly peekEntry: RedisEntries['peek'] | undefined;
  close(): Promise<void>;
}

export async function openInspection(
  settings: StoreSettings & Parameters<typeof cachePolicy>[0],
  log: Logger,
): Promise<Inspection> {
  const link = openLink(settings, log, { deadlineMs: START_PATIENCE_MS });
  if (!link) {
    const keys = new FileKeys(settings.KEYS_FILE);
    return { keys, peekLimits: undefined, peekEntry: undefined, close: async () => {} };
  }
  await link.started(START_PATIENCE_MS);
  const changes = new RedisChanges(link);
  const feed = new ChangeFeed(changes);
  await feed.start();
  const limits = new RedisLimits(link);
  const entries = new RedisEntries(link, feed, new RedisPurges(link, changes), cachePolicy(settings));
  return {
    keys: new RedisKeys(link, changes),
    peekLimits: (subject) => limits.peek(subject),
    peekEntry: (key, isOwn) => entries.peek(key, isOwn),
    close: async () => {
      feed.stop();
      link.close();
    },
  };
}

/** What a purge is told to, for the command line. Rejects with `StoreUnavailable` when it is out of reach. */
export async function openPurges(
  settings: StoreSettings,
  log: Logger,
): Promise<{ purge(purge: Purge): Promise<void>; close(): Promise<void> }> {
  const link = openLink(settings, log, { deadlineMs: START_PATIENCE_MS });
  const purges = link ? new RedisPurges(link, new RedisChanges(link)) : new FileChanges(settings.KEYS_FILE);
  await link?.started(START_PATIENCE_MS);
  return { purge: (purge) => purges.purge(purge), close: async () => link?.close() };
}

function openLink(settings: StoreSettings, log: Logger, options: { deadlineMs?: number } = {}): RedisLink | undefined {
  const address = settings.REDIS_URL === undefined ? undefined : parseRedisUrl(settings.REDIS_URL);
  return address && new RedisLink({ address, prefix: settings.REDIS_KEY_PREFIX, log, ...options });
}

async function openShared(link: RedisLink, settings: Settings): Promise<Stores> {
  const heartbeat = new Heartbeat(link);
  const log = new RedisChanges(link);
  const changes = new ChangeFeed(log);
  const keys = new CachedKeys(new RedisKeys(link, log), {
    ttlMs: settings.KEY_CACHE_TTL_MS,
    staleMs: settings.KEY_CACHE_STALE_MS,
    count: keyLookupCounter(),
  });
  const uses = new UseNotes(new RedisKeyUses(link));
  const shared = new RedisLimits(link);
  // Each in memory of its own: a flood of addresses does not push out what is known of keys.
  const count = limitDecisionCounters();
  const ofKeys = new SpentLimits(shared, { count: count.key });
  const ofAddresses = new SpentLimits(shared, { count: count.address });
  const [limits, failures] = [
    { shared: ofKeys, count: count.key },
    { shared: ofAddresses, count: count.address },
  ].map(
    (of) =>
      new FallbackLimits({
        ...of,
        settle: (id, rates, owed) => shared.settle(id, rates, owed),
        isAway: () => link.state === 'away',
        mode: settings.RATE_LIMIT_ON_REDIS_FAILURE,
        processes: () => heartbeat.processes,
      }),
  ) as [FallbackLimits, FallbackLimits];
  changes.follow((change) => {
    if (change === 'everything') {
      keys.doubtAll();
      ofKeys.forgetAll();
    } else if (change.kind === 'key') {
      keys.renew(change.id);
      ofKeys.forget(change.id);
    }
  });
  showRedisState(() => link.state);
  showProcesses(() => heartbeat.processes);
  await link.started(START_PATIENCE_MS);
  await Promise.all([heartbeat.beat(), changes.start()]);
  return {
    keys,
    uses,
    limits,
    failures,
    isSpent: (id) => ofAddresses.isSpent(id),
    entries: new RedisEntries(link, changes, new RedisPurges(link, log), cachePolicy(settings)),
    changes,
    state: () => link.state,
    close: async () => {
      changes.stop();
      for (const fallback of [limits, failures]) fallback.stop();
      await Promise.all([heartbeat.stop(), uses.stop()]);
      link.close();
    },
  };
}

async function openEmbedded(settings: Settings, log: Logger): Promise<Stores> {
  const keys = new FileKeys(settings.KEYS_FILE, keyLookupCounter());
  await keys.list(); // A damaged file is found at the start, not at the first request.
  /** Redis has its own line in the log. */
  const tell = (dependency: string, what: string) => (error: Error | undefined) => {
    if (error) log.warn({ dependency, state: 'away', cause: error.message }, `${what} cannot be reached`);
    else log.info({ dependency, state: 'up' }, `${what} can be reached again`);
  };
  const changes = new ChangeFeed(new FileChanges(settings.KEYS_FILE), tell('purge_log', 'the file of purges'));
  await changes.start();
  const uses = new UseNotes(new FileKeyUses(settings.KEYS_FILE), {
    onTrouble: tell('key_uses', 'the file of last uses'),
  });
  const count = limitDecisionCounters();
  showProcesses(() => 1);
  return {
    keys,
    uses,
    limits: new MemoryLimits({ count: count.key }),
    failures: new MemoryLimits({ count: count.address }),
    isSpent: () => false, // Its keys cost nothing to look up.
    entries: noSharedEntries,
    changes,
    state: () => 'embedded',
    close: async () => {
      changes.stop();
      await uses.stop();
    },
  };
}
