import { campaignDocument, type Responder, requestIds, respondWithJson } from '../helpers/upstream.ts';
import type { Interval } from './observation.ts';

/** What the campaign service has of a campaign: its document, nothing, or a fault. */
type State = 'there' | 'gone' | 'sick';

/** By the first part of a campaign's id: its state in even versions and in odd ones. */
const states: Readonly<Record<string, readonly [even: State, odd: State]>> = {
  cmp: ['there', 'there'],
  once: ['there', 'there'],
  flip: ['there', 'gone'],
  ill: ['there', 'sick'],
  none: ['gone', 'gone'],
  sick: ['sick', 'sick'],
};

interface Version {
  readonly changedAt: number;
  /** When a purge that began after the change was over. */
  purgedAt: number;
}

/** What takes time is under way when something else happens. */
const ANSWER_MS = 60;

/** A purge is in force in every process within so long. */
const PURGE_MS = 1000;

/** A campaign service whose documents name the version that they are of, and what it has had when. */
export class Campaigns {
  readonly #versions = new Map<string, Version[]>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  stateOf(campaignId: string, version: number): State {
    return states[campaignId.split('_')[0] ?? '']?.[version % 2] ?? 'gone';
  }

  /** Answers, after a while, of what was true when it was asked. */
  readonly answer: Responder = (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    const version = this.#versionsOf(`${accountGroupId}/${campaignId}`).length - 1;
    const document = { ...campaignDocument(campaignId, accountGroupId), name: `v${version}` };
    const answers = {
      there: respondWithJson(document),
      gone: respondWithJson({}, 404),
      sick: respondWithJson({}, 500),
    };
    setTimeout(() => answers[this.stateOf(campaignId, version)](request, response), ANSWER_MS);
  };

  /** Changes them all, has them purged, and notes when that was over. */
  async change(campaigns: readonly string[], purge: () => Promise<void>): Promise<void> {
    const changed = campaigns.map((campaign) => {
      const version: Version = { changedAt: this.#now(), purgedAt: Number.POSITIVE_INFINITY };
      this.#versionsOf(campaign).push(version);
      return version;
    });
    await purge();
    const purgedAt = this.#now();
    for (const version of changed) version.purgedAt = purgedAt;
  }

  /** The versions that an answer of this time may show. */
  allowed(campaign: string, { from, to }: Interval): number[] {
    const all = [...this.#versionsOf(campaign).entries()];
    const inForce = ([, { purgedAt }]: [number, Version]) => purgedAt + PURGE_MS <= from;
    const oldest = all.findLast(inForce)?.[0] ?? 0;
    return all.filter(([i, { changedAt }]) => i >= oldest && changedAt <= to).map(([i]) => i);
  }

  /** `campaign`: account group, slash, campaign. */
  #versionsOf(campaign: string): Version[] {
    const known = this.#versions.get(campaign) ?? [{ changedAt: 0, purgedAt: 0 }];
    this.#versions.set(campaign, known);
    return known;
  }
}
