import { setTimeout as pause } from 'node:timers/promises';
import { SpanKind } from '@opentelemetry/api';
import type { ReadResult } from '../exchange.ts';
import type { Lease, LookUpOptions, SharedEntries, SharedEntry } from '../stores/cache/shared-entries.ts';
import { below, endSpan, startSpan } from '../telemetry/tracing.ts';
import { Abandoned, type FailureReason, reasonOf, UpstreamFailure } from '../upstream/failure.ts';
import type { CacheKey, Entry } from './entry.ts';
import { Flight, type Landing } from './flight.ts';
import { type CachePolicy, storabilityOf, usefulMs } from './freshness.ts';
import type { LocalEntries } from './local-entries.ts';
import type { Fetched, Source } from './source.ts';

export interface FlightOptions {
  readonly policy: CachePolicy;
  /** How long the campaign service may take. */
  readonly timeoutMs: number;
  readonly shared: SharedEntries;
  readonly random: () => number;
}

/** A wait for another gateway grows by no more than this share, for how often it is asked. */
const POLL_SHARE = 1 / 8;
const MIN_POLL_MS = 4;
const MAX_POLL_MS = 100;
/** So much longer than its own patience a gateway waits for the end of another one's, whatever it comes to. */
const GRACE_MS = 1000;

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
    const flight = new Flight(this.#local.generation, isWanted, () => {
      end();
      return this.#desert(flight);
    });
    this.#underWay.set(key.path, flight);
    this.#fly(key, flight, source)
      .catch((error) => flight.crash(error))
      .finally(end);
    return flight;
  }

  /** Ends an exchange that no reader waits for, here or elsewhere, as soon as that is so. */
  async #desert(flight: Flight): Promise<void> {
    while (!flight.hasLanded) {
      if (await flight.lease.abandon()) return flight.giveUp();
      await pause(MAX_POLL_MS);
    }
  }

  /** Looks where all gateways keep theirs, waits for one that is asking already, or asks. */
  async #fly(key: CacheKey, flight: Flight, source: Source): Promise<void> {
    const startedAt = performance.now();
    const { isOwn } = source;
    let known = documentOnly(this.#local.get(key));
    let options: LookUpOptions = { isOwn };
    while (!flight.signal.aborted) {
      const found = await this.#options.shared.lookUp(key, options);
      switch (found.state) {
        case 'fresh': {
          const entry = this.#adopt(found.entry, flight);
          if (!this.#isOutdated(entry, known)) {
            return this.#landOn(key, flight, entry, known, options.waitingFor !== undefined);
          }
          options = { isOwn, ignoresStored: true };
          break;
        }
        case 'granted':
          known = this.#landIfStale(key, flight, known, found.entry);
          return this.#ask(key, flight, source, found.lease, known);
        case 'held':
          known = this.#landIfStale(key, flight, known, found.entry);
          if (flight.hasLanded) return; // The other one will refresh it for all.
          if (!(await this.#hasWaited(startedAt))) return this.#fail(flight, known, 'timeout');
          options = { isOwn, waitingFor: found.holder };
          flight.askedBy = found.askedBy;
          break;
        case 'failed':
          return this.#fail(flight, known, found.reason);
        case 'unkept':
          return flight.land(collapsed(known, found.result, false));
      }
    }
  }

  /** False when there has been enough of it. */
  async #hasWaited(startedAt: number): Promise<boolean> {
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > this.#options.timeoutMs + GRACE_MS) return false;
    await pause(Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, waitedMs * POLL_SHARE)));
    return true;
  }

  /** Gives the younger of what this process had and what all have. Where it may be served while it is refreshed, it is. */
  #landIfStale(
    key: CacheKey,
    flight: Flight,
    known: Entry | undefined,
    shared: SharedEntry | undefined,
  ): Entry | undefined {
    const entry = younger(known, documentOnly(shared && this.#adopt(shared, flight)));
    if (entry && this.#local.freshnessOf(entry) === 'stale_while_revalidate') {
      this.#landOn(key, flight, entry, undefined, false);
    }
    return entry;
  }

  /** What all have is fresh, and yet this process has had something newer, which is not. */
  #isOutdated(stored: Entry, known: Entry | undefined): boolean {
    return known !== undefined && known.bornAt > stored.bornAt && this.#local.freshnessOf(known) !== 'fresh';
  }

  #landOn(key: CacheKey, flight: Flight, entry: Entry, known: Entry | undefined, wasWaitedFor: boolean): void {
    const isStored = this.#local.keep(key, entry);
    const { content } = entry;
    if (content.outcome === 'uncacheable') {
      flight.land({ kind: 'uncacheable', forwarded: 'uri-miss', result: undefined });
    } else {
      flight.land(wasWaitedFor ? collapsed(known, content, isStored) : { kind: 'shared', entry });
    }
  }

  /** As another gateway has failed, or for want of its answer. */
  #fail(flight: Flight, stale: Entry | undefined, reason: FailureReason): void {
    flight.land({ kind: 'failed', failure: new UpstreamFailure(reason, 'asked by another gateway'), stale });
  }

  async #ask(key: CacheKey, flight: Flight, source: Source, lease: Lease, stale: Entry | undefined): Promise<void> {
    flight.lease = lease;
    flight.span = startSpan('fetch', SpanKind.INTERNAL);
    const askedAt = this.#local.now();
    try {
      if (flight.signal.aborted) throw new Abandoned();
      // Whoever asks has the whole time for it, however long it has waited for another one.
      const deadlineAt = performance.now() + this.#options.timeoutMs;
      const fetched = await below(flight.span, () => source.ask(flight.signal, deadlineAt));
      endSpan(flight.span, { outcome: fetched.result.outcome });
      await this.#settle(key, flight, fetched, stale, this.#local.now() - askedAt);
    } catch (error) {
      endSpan(flight.span, {}, error instanceof UpstreamFailure ? reasonOf(error) : 'bug');
      const failure = error instanceof UpstreamFailure ? error : undefined;
      void lease.fail(failure && isOfService(failure) ? failure.reason : undefined);
      if (!failure) throw error;
      if (stale) {
        this.#local.noteFailure(stale, failure, this.#local.now() - askedAt);
        this.#local.keep(key, stale);
      }
      flight.land({ kind: 'failed', failure, stale });
    }
  }

  /** Keeps an answer, as far as it lets itself be kept, here and for all. */
  async #settle(
    key: CacheKey,
    flight: Flight,
    { result, headers }: Fetched,
    stale: Entry | undefined,
    delayMs: number,
  ): Promise<void> {
    const { policy, random } = this.#options;
    const storability = storabilityOf(headers, { allowed: policy[result.outcome], delayMs, random });
    const shared: SharedEntry = storability.storable
      ? { content: result, lifetime: storability.lifetime, ageMs: storability.ageMs }
      : { content: { outcome: 'uncacheable' }, lifetime: policy.uncacheable, ageMs: 0 };
    const isUseful = usefulMs(shared.lifetime) > shared.ageMs;
    const entry = this.#adopt(shared, flight);
    const isKept = this.#local.keep(key, entry);
    const isStored = isKept || (isUseful && flight.lease.isShared);
    const forwarded = stale ? 'stale' : 'uri-miss';
    flight.land(
      storability.storable
        ? { kind: 'fetched', forwarded, result, isStored, isCollapsed: false }
        : { kind: 'uncacheable', forwarded, result },
    );
    const isRight = await flight.lease.fill(shared, stale?.content.outcome === 'found');
    if (!isRight) this.#local.drop(key, entry);
  }

  #adopt({ content, lifetime, ageMs }: SharedEntry, { generation }: Flight): Entry {
    return { content, lifetime, bornAt: this.#local.now() - ageMs, generation };
  }
}

/** What the service itself came to holds for all gateways; the way to it, the circuit and the queue are each one's own. */
const SERVICE_REASONS: ReadonlySet<FailureReason> = new Set([
  'timeout',
  'reset',
  'truncated',
  'status',
  'too_large',
  'not_json',
  'not_a_campaign',
]);

function isOfService(failure: UpstreamFailure): boolean {
  return SERVICE_REASONS.has(failure.reason) && !(failure instanceof Abandoned);
}

/** That an answer was not to be kept is no stale document. */
function documentOnly(entry: Entry | undefined): Entry | undefined {
  return entry?.content.outcome === 'uncacheable' ? undefined : entry;
}

function younger(a: Entry | undefined, b: Entry | undefined): Entry | undefined {
  return a && b && a.bornAt > b.bornAt ? a : (b ?? a);
}

function collapsed(known: Entry | undefined, result: ReadResult, isStored: boolean): Landing {
  return { kind: 'fetched', forwarded: known ? 'stale' : 'uri-miss', result, isStored, isCollapsed: true };
}
