import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { ReadResult } from '../exchange.ts';
import type { SharedEntries, SharedEntry } from '../stores/cache/shared-entries.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { CacheKey, Entry } from './entry.ts';
import { Flight, type Landing } from './flight.ts';
import { type CachePolicy, storabilityOf } from './freshness.ts';
import type { LocalEntries } from './local-entries.ts';

/** What the campaign service's answer came to, and what it says of its own storage. */
export interface Fetched {
  readonly result: ReadResult;
  readonly headers: IncomingHttpHeaders;
}

/** Where a document comes from when the cache has none. */
export interface Source {
  /** Rejects with `UpstreamFailure`. `deadlineAt` is on `performance.now()`'s clock. */
  ask(signal: AbortSignal, deadlineAt: number): Promise<Fetched>;
  /** Whether a document that was found somewhere is a whole one of this key, with nothing in it that must not leave. */
  isOwn(data: string): boolean;
}

export interface FlightOptions {
  readonly policy: CachePolicy;
  /** How long a read may take in all, the wait for another gateway's included. */
  readonly timeoutMs: number;
  readonly shared: SharedEntries;
  readonly random: () => number;
}

/** How long readers go to the campaign service each for themselves after it said that an answer must not be kept. */
const uncacheableLifetime = { freshMs: 5000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 };
/** How often a gateway asks whether another one has its answer. */
const MIN_POLL_MS = 4;
const MAX_POLL_MS = 25;

/** The reads under way, one a document. */
export class Flights {
  readonly #options: FlightOptions;
  readonly #local: LocalEntries;
  readonly #underWay = new Map<string, Flight>();

  constructor(local: LocalEntries, options: FlightOptions) {
    this.#local = local;
    this.#options = options;
  }

  /** The flight under way that a reader who comes now may join: one that began after the last purge and has not landed. */
  joinable(key: CacheKey): Flight | undefined {
    const flight = this.#current(key);
    return flight?.hasLanded ? undefined : flight;
  }

  /** For a reader. */
  begin(key: CacheKey, source: Source): Flight {
    return this.#begin(key, source, false);
  }

  /** For the cache itself, unless there is one under way. */
  refresh(key: CacheKey, source: Source): void {
    if (!this.#current(key)) this.#begin(key, source, true);
  }

  #current(key: CacheKey): Flight | undefined {
    const flight = this.#underWay.get(key.path);
    return flight && !this.#local.isPurged(key, flight.generation) ? flight : undefined;
  }

  #begin(key: CacheKey, source: Source, isWanted: boolean): Flight {
    const end = () => {
      if (this.#underWay.get(key.path) === flight) this.#underWay.delete(key.path);
    };
    const flight = new Flight(this.#local.generation, isWanted, async () => {
      end();
      if (await flight.lease.abandon()) flight.giveUp();
    });
    this.#underWay.set(key.path, flight);
    this.#fly(key, flight, source)
      .catch((error) => flight.crash(error))
      .finally(end);
    return flight;
  }

  /** Looks where all gateways keep theirs, waits for one that is asking already, or asks. */
  async #fly(key: CacheKey, flight: Flight, source: Source): Promise<void> {
    const deadlineAt = performance.now() + this.#options.timeoutMs;
    let known = documentOnly(this.#local.get(key));
    for (let polls = 0; ; polls++) {
      const { entry, lease } = await this.#options.shared.lookUp(key, source.isOwn);
      known = younger(known, entry && this.#adopt(entry, flight));
      if (typeof lease === 'object') flight.lease = lease;
      if (flight.signal.aborted) return flight.lease.release();

      this.#landOn(known, key, flight, { isFresh: lease === 'needless', wasWaitedFor: polls > 0 });
      if (typeof lease === 'object') return this.#ask(key, flight, source, deadlineAt, known);
      if (flight.hasLanded) return; // Fresh; or stale, and another gateway is refreshing it.
      if (performance.now() > deadlineAt) {
        const failure = new UpstreamFailure('timeout', 'another gateway had no answer in time either');
        return flight.land({ kind: 'failed', failure, stale: known });
      }
      await pause(Math.min(MAX_POLL_MS, MIN_POLL_MS * 2 ** polls));
    }
  }

  /** With what was found, if it may be used. */
  #landOn(
    known: Entry | undefined,
    key: CacheKey,
    flight: Flight,
    { isFresh, wasWaitedFor }: { isFresh: boolean; wasWaitedFor: boolean },
  ): void {
    if (!known || !(isFresh || this.#local.freshnessOf(known) === 'stale_while_revalidate')) return;
    flight.land(landingOf(known, wasWaitedFor, this.#local.keep(key, known)));
  }

  async #ask(
    key: CacheKey,
    flight: Flight,
    source: Source,
    deadlineAt: number,
    stale: Entry | undefined,
  ): Promise<void> {
    const askedAt = this.#local.now();
    let fetched: Fetched;
    try {
      fetched = await source.ask(flight.signal, deadlineAt);
    } catch (error) {
      void flight.lease.release();
      if (!(error instanceof UpstreamFailure)) throw error;
      if (stale) {
        this.#local.noteFailure(stale, error, this.#local.now() - askedAt);
        this.#local.keep(key, stale);
      }
      return flight.land({ kind: 'failed', failure: error, stale });
    }
    await this.#settle(key, flight, fetched, stale);
  }

  /** Keeps an answer, as far as it lets itself be kept, here and for all. */
  async #settle(key: CacheKey, flight: Flight, { result, headers }: Fetched, stale: Entry | undefined): Promise<void> {
    const { policy, random } = this.#options;
    const allowed = result.outcome === 'found' ? policy.found : policy.notFound;
    const storability = storabilityOf(headers, allowed, random);
    const shared: SharedEntry = storability.storable
      ? { content: result, lifetime: storability.lifetime, ageMs: storability.ageMs }
      : { content: { outcome: 'uncacheable' }, lifetime: uncacheableLifetime, ageMs: 0 };
    const entry = this.#adopt(shared, flight);
    const isStored = this.#local.keep(key, entry);
    const forwarded = stale ? 'stale' : 'uri-miss';
    flight.land(
      storability.storable
        ? { kind: 'fetched', forwarded, result, isStored, isCollapsed: false }
        : { kind: 'uncacheable', forwarded, result },
    );
    // Refused for all is refused here: there was a purge that this process has not heard of yet.
    if ((await flight.lease.fill(shared)) === 'refused') this.#local.drop(key, entry);
  }

  #adopt({ content, lifetime, ageMs }: SharedEntry, { generation }: Flight): Entry {
    return { content, lifetime, bornAt: this.#local.now() - ageMs, generation };
  }
}

/** That an answer was not to be kept is no stale document. */
function documentOnly(entry: Entry | undefined): Entry | undefined {
  return entry?.content.outcome === 'uncacheable' ? undefined : entry;
}

function younger(a: Entry | undefined, b: Entry | undefined): Entry | undefined {
  return a && b && a.bornAt > b.bornAt ? a : (b ?? a);
}

function landingOf(entry: Entry, wasWaitedFor: boolean, isStored: boolean): Landing {
  const { content } = entry;
  if (content.outcome === 'uncacheable') return { kind: 'uncacheable', forwarded: 'uri-miss', result: undefined };
  if (!wasWaitedFor) return { kind: 'shared', entry };
  return { kind: 'fetched', forwarded: 'uri-miss', result: content, isStored, isCollapsed: true };
}
