import { campaignDocument, type Responder, requestIds, respondWithJson } from '../../helpers/upstream.ts';
import type { Interval } from './observation.ts';

/** How the campaign service responds for a campaign: its document, a 404 or a 500. */
type State = 'present' | 'missing' | 'failing';

/** By the prefix of the campaign id, the states of even and odd versions. */
const states: Readonly<Record<string, readonly [even: State, odd: State]>> = {
  cmp: ['present', 'present'],
  once: ['present', 'present'],
  flip: ['present', 'missing'],
  flaky: ['present', 'failing'],
  none: ['missing', 'missing'],
  sick: ['failing', 'failing'],
};

interface Version {
  readonly changedAt: number;
  /** When a purge that started after the change completed. */
  purgedAt: number;
}

/** Slow enough that faults happen while requests are in flight. */
const RESPONSE_DELAY_MS = 60;

/** A purge is in force on every gateway within this time. */
const PURGE_MS = 1000;

/** A campaign service whose documents carry their version as name. Records when each version was current. */
export class Campaigns {
  readonly #versions = new Map<string, Version[]>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  getState(campaignId: string, version: number): State {
    return states[campaignId.split('_')[0] ?? '']?.[version % 2] ?? 'missing';
  }

  /** Responds after a delay with the version that was current when the request arrived. */
  readonly respond: Responder = (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    const version = this.#getVersions(`${accountGroupId}/${campaignId}`).length - 1;
    const document = { ...campaignDocument(campaignId, accountGroupId), name: `v${version}` };
    const responders = {
      present: respondWithJson(document),
      missing: respondWithJson({}, 404),
      failing: respondWithJson({}, 500),
    };
    setTimeout(() => responders[this.getState(campaignId, version)](request, response), RESPONSE_DELAY_MS);
  };

  /** Starts a new version of each campaign and purges them. */
  async change(campaigns: readonly string[], purge: () => Promise<void>): Promise<void> {
    const changed = campaigns.map((campaign) => {
      const version: Version = { changedAt: this.#now(), purgedAt: Number.POSITIVE_INFINITY };
      this.#getVersions(campaign).push(version);
      return version;
    });
    await purge();
    const purgedAt = this.#now();
    for (const version of changed) version.purgedAt = purgedAt;
  }

  /** The versions that a response in this interval may have. */
  allowedVersions(campaign: string, { from, to }: Interval): number[] {
    const all = [...this.#getVersions(campaign).entries()];
    const isInForce = ([, { purgedAt }]: [number, Version]) => purgedAt + PURGE_MS <= from;
    const oldest = all.findLast(isInForce)?.[0] ?? 0;
    return all.filter(([i, { changedAt }]) => i >= oldest && changedAt <= to).map(([i]) => i);
  }

  /** `campaign` is ACCOUNT_GROUP_ID/CAMPAIGN_ID. */
  #getVersions(campaign: string): Version[] {
    const versions = this.#versions.get(campaign) ?? [{ changedAt: 0, purgedAt: 0 }];
    this.#versions.set(campaign, versions);
    return versions;
  }
}
