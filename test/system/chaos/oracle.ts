import { identifier } from '../../../src/endpoints/identifier.ts';
import { checkAgainstOpenApi } from '../../helpers/openapi-contract.ts';
import type { Campaigns } from './campaigns.ts';
import { type Client, during, type Interval, type Observation } from './observation.ts';
import type { Outages } from './outages.ts';

/** The recorded facts that responses are checked against. */
export interface Facts {
  readonly campaigns: Campaigns;
  /** From the start of a revocation to its completion, by key. */
  readonly revocations: ReadonlyMap<string, Interval>;
  readonly outages: Outages;
}

/** The account groups that every key of the load may read. */
export const accountGroups = ['ag_1', 'ag_2'];

/** Checks responses against the documented behavior, in the order of the stages. */
export class Oracle {
  readonly #facts: Facts;
  /** The campaign version of each entity tag. */
  readonly #versionByTag = new Map<string, number>();
  /** Versions that appeared in a body. A short-lived version may appear in no body. */
  readonly #seenVersions = new Set<string>();
  /** Responses checked leniently because their gateway had an outage. */
  lenient = 0;

  constructor(facts: Facts, observations: readonly Observation[]) {
    this.#facts = facts;
    for (const observation of observations) this.#recordTag(observation);
  }

  /** Returns what is wrong with the response of a gateway, or undefined. */
  findViolation(observed: Observation): string | undefined {
    const traceId = observed.header('x-trace-id') ?? '';
    const { sentAt, receivedAt } = observed;
    // A gateway with an outage may have missed the events of the second before.
    const isHealthy = this.#facts.outages.isHealthy(traceId, { from: sentAt - 1000, to: receivedAt });
    if (!isHealthy) this.lenient++;
    return checkSchema(observed) ?? this.#checkKey(observed, isHealthy) ?? this.#checkAfterKey(observed, isHealthy);
  }

  #checkKey(observed: Observation, isHealthy: boolean): string | undefined {
    const { status, client } = observed;
    if (status === 500) return isHealthy ? 'an internal error' : undefined;
    const validity = this.#getValidity(client, isHealthy ? during(observed) : { from: 0, to: observed.receivedAt });
    if (status === 401) return validity === 'valid' ? 'a valid key is rejected' : undefined;
    if (status === 429) return client.limit ? undefined : 'rejected below the rate limit';
    return validity === 'invalid' ? 'an invalid key is accepted' : undefined;
  }

  #getValidity({ key, hasValidKey }: Client, interval: Interval): 'valid' | 'invalid' | 'either' {
    if (!hasValidKey) return 'invalid';
    const revocation = this.#facts.revocations.get(key ?? '');
    if (!revocation || interval.to < revocation.from) return 'valid';
    return interval.from > revocation.to ? 'invalid' : 'either';
  }

  #checkAfterKey(observed: Observation, isHealthy: boolean): string | undefined {
    const { status, method, path } = observed;
    if (status === 401 || status === 429 || status === 500) return undefined;
    const [, accountGroup = '', campaign = ''] = /^\/v1\/accounts\/([^/]+)\/campaigns\/([^/]+)$/.exec(path) ?? [];
    const expectStatus = (expected: number) => (status === expected ? undefined : `must be a ${expected}`);
    if (campaign === '') return expectStatus(404);
    if (method === 'DELETE') return expectStatus(405);
    if (![accountGroup, campaign].every((id) => identifier.safeParse(id).success)) return expectStatus(400);
    if (!accountGroups.includes(accountGroup)) return expectStatus(403);
    if (status === 502 && !isHealthy) return undefined;
    const interval = isHealthy ? during(observed) : { from: 0, to: observed.receivedAt };
    const isStale = /; ttl=-/.test(observed.header('cache-status') ?? '');
    const allowed = this.#facts.campaigns.allowedVersions(`${accountGroup}/${campaign}`, interval, isStale);
    return this.#checkCampaign(observed, campaign, allowed);
  }

  #checkCampaign(observed: Observation, campaign: string, allowed: readonly number[]): string | undefined {
    const { status, text } = observed;
    const { campaigns } = this.#facts;
    const isAllowed = (state: string) => allowed.some((version) => campaigns.getState(campaign, version) === state);
    if (status === 404) return isAllowed('missing') ? undefined : 'a 404 for an existing campaign';
    if (status === 502) return isAllowed('failing') && text.includes('"status: ') ? undefined : 'an unexpected 502';
    if (status !== 200 && status !== 304) return 'an unexpected status';
    const versions = allowed.filter((version) => campaigns.getState(campaign, version) === 'present');
    return this.#checkVersion(observed, versions);
  }

  #checkVersion(observed: Observation, allowed: readonly number[]): string | undefined {
    const { status, path, ifNoneMatch, header } = observed;
    if ((status === 304) !== (header('etag') === ifNoneMatch)) return 'If-None-Match is evaluated wrongly';
    const version = this.#versionByTag.get(tagKey(observed));
    if (version === undefined) {
      const mayBeUnseen = allowed.some((one) => !this.#seenVersions.has(`${path} ${one}`));
      return mayBeUnseen ? undefined : 'an entity tag of no document';
    }
    if (version !== (parseVersion(observed) ?? version)) return 'an entity tag of another version';
    return allowed.includes(version) ? undefined : `v${version} where only v${allowed} is allowed`;
  }

  #recordTag(observed: Observation): void {
    const [version, key] = [parseVersion(observed), tagKey(observed)];
    if (version === undefined) return;
    this.#seenVersions.add(`${observed.path} ${version}`);
    if (!this.#versionByTag.has(key)) this.#versionByTag.set(key, version);
  }
}

const tagKey = ({ path, header }: Observation): string => `${path} ${header('etag')}`;

function parseVersion({ status, method, text }: Observation): number | undefined {
  if (status !== 200 || method === 'HEAD') return undefined;
  return Number(JSON.parse(text).data.name.slice(1));
}

/** Checks the response against the OpenAPI document, and that it has the requested campaign. */
function checkSchema({ method, path, status, header, text }: Observation): string | undefined {
  try {
    checkAgainstOpenApi({ method, path, status, header, headerNames: [], body: text });
  } catch (error) {
    return String(error);
  }
  if (status !== 200 || method === 'HEAD') return undefined;
  return path.endsWith(`/${JSON.parse(text).data.id}`) ? undefined : 'another campaign';
}
