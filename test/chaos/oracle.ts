import { identifier } from '../../src/endpoints/identifier.ts';
import { checkAgainstOpenApi } from '../helpers/openapi-contract.ts';
import type { Campaigns } from './campaigns.ts';
import { type Client, during, type Interval, type Observation } from './observation.ts';
import type { Trouble } from './outages.ts';

/** What was true when. */
export interface Truth {
  readonly campaigns: Campaigns;
  /** When each key was being revoked. */
  readonly revocations: ReadonlyMap<string, Interval>;
  readonly trouble: Trouble;
}

/** The account groups that every key of the load may read. */
export const accountGroups = ['ag_1', 'ag_2'];

/** Holds answers against the contract, in the order of its checks. */
export class Judge {
  readonly #truth: Truth;
  /** The version that an entity tag of a campaign stands for. */
  readonly #tagged = new Map<string, number>();
  /** The versions of campaigns that a body has shown; one that was there for a moment may have gone unseen. */
  readonly #shown = new Set<string>();
  /** Answers of which less was asked, for their gateway was in trouble. */
  excused = 0;

  constructor(truth: Truth, observations: readonly Observation[]) {
    this.#truth = truth;
    for (const observation of observations) this.#noteTag(observation);
  }

  /** What is wrong with an answer of a gateway; undefined: nothing. */
  fault(observed: Observation): string | undefined {
    const traceId = observed.header('x-trace-id') ?? '';
    const { sentAt, answeredAt } = observed;
    // What has happened in the second before may not have reached a gateway that was in trouble then.
    const isCalm = this.#truth.trouble.isCalm(traceId, { from: sentAt - 1000, to: answeredAt });
    if (!isCalm) this.excused++;
    return faultOfForm(observed) ?? this.#faultOfKey(observed, isCalm) ?? this.#faultBehindKey(observed, isCalm);
  }

  #faultOfKey(observed: Observation, isCalm: boolean): string | undefined {
    const { status, client } = observed;
    if (status === 500) return isCalm ? 'a fault of the gateway' : undefined;
    const validity = this.#validityOf(client, isCalm ? during(observed) : { from: 0, to: observed.answeredAt });
    if (status === 401) return validity === 'valid' ? 'a key is refused that is valid' : undefined;
    if (status === 429) return client.limit ? undefined : 'limited below its limit';
    return validity === 'invalid' ? 'let in with a key that is not valid' : undefined;
  }

  #validityOf({ key, isKnown }: Client, time: Interval): 'valid' | 'invalid' | 'either' {
    if (!isKnown) return 'invalid';
    const revocation = this.#truth.revocations.get(key ?? '');
    if (!revocation || time.to < revocation.from) return 'valid';
    return time.from > revocation.to ? 'invalid' : 'either';
  }

  #faultBehindKey(observed: Observation, isCalm: boolean): string | undefined {
    const { status, method, path } = observed;
    if (status === 401 || status === 429 || status === 500) return undefined;
    const [, accountGroup = '', campaign = ''] = /^\/v1\/accounts\/([^/]+)\/campaigns\/([^/]+)$/.exec(path) ?? [];
    const expect = (right: number) => (status === right ? undefined : `this is a ${right}`);
    if (campaign === '') return expect(404);
    if (method === 'DELETE') return expect(405);
    if (![accountGroup, campaign].every((id) => identifier.safeParse(id).success)) return expect(400);
    if (!accountGroups.includes(accountGroup)) return expect(403);
    if (status === 502 && !isCalm) return undefined;
    const time = isCalm ? during(observed) : { from: 0, to: observed.answeredAt };
    const allowed = this.#truth.campaigns.allowed(`${accountGroup}/${campaign}`, time);
    return this.#faultOfCampaign(observed, campaign, allowed);
  }

  #faultOfCampaign(observed: Observation, campaign: string, allowed: readonly number[]): string | undefined {
    const { status, text } = observed;
    const { campaigns } = this.#truth;
    const isAllowed = (state: string) => allowed.some((version) => campaigns.stateOf(campaign, version) === state);
    if (status === 404) return isAllowed('gone') ? undefined : 'it is there';
    if (status === 502) return isAllowed('sick') && text.includes('"status: ') ? undefined : 'another failure';
    if (status !== 200 && status !== 304) return 'nothing that a campaign can come to';
    const versions = allowed.filter((version) => campaigns.stateOf(campaign, version) === 'there');
    return this.#faultOfDocument(observed, versions);
  }

  #faultOfDocument(observed: Observation, allowed: readonly number[]): string | undefined {
    const { status, path, ifNoneMatch, header } = observed;
    if ((status === 304) !== (header('etag') === ifNoneMatch)) return 'a condition is misjudged';
    const version = this.#tagged.get(taggedBy(observed));
    if (version === undefined) {
      const isOfOneUnseen = allowed.some((one) => !this.#shown.has(`${path} ${one}`));
      return isOfOneUnseen ? undefined : 'an entity tag of no document';
    }
    if (version !== (versionIn(observed) ?? version)) return 'an entity tag of another version';
    return allowed.includes(version) ? undefined : `v${version} where only v${allowed} can be`;
  }

  #noteTag(observed: Observation): void {
    const [version, tagged] = [versionIn(observed), taggedBy(observed)];
    if (version === undefined) return;
    this.#shown.add(`${observed.path} ${version}`);
    if (!this.#tagged.has(tagged)) this.#tagged.set(tagged, version);
  }
}

const taggedBy = ({ path, header }: Observation): string => `${path} ${header('etag')}`;

function versionIn({ status, method, text }: Observation): number | undefined {
  if (status !== 200 || method === 'HEAD') return undefined;
  return Number(JSON.parse(text).data.name.slice(1));
}

/** That an answer is described as it is, and is that of the campaign that was asked for. */
function faultOfForm({ method, path, status, header, text }: Observation): string | undefined {
  try {
    checkAgainstOpenApi({ method, path, status, header, headerNames: [], body: text });
  } catch (error) {
    return String(error);
  }
  if (status !== 200 || method === 'HEAD') return undefined;
  return path.endsWith(`/${JSON.parse(text).data.id}`) ? undefined : 'another campaign';
}
