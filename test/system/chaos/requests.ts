import { makeKey } from '../../helpers/keys.ts';
import type { PlannedRequest } from './traffic.ts';

const numbered = (name: string, count: number) => Array.from({ length: count }, (_, i) => `/v1/accounts/${name}_${i}`);

/** The paths of campaigns that are read repeatedly and change from time to time. */
export const changingCampaigns = [
  ...numbered('ag_1/campaigns/cmp', 8),
  ...numbered('ag_1/campaigns/flip', 3),
  ...numbered('ag_1/campaigns/flaky', 2),
  ...numbered('ag_2/campaigns/cmp', 4),
  ...numbered('ag_2/campaigns/flip', 1),
];

export interface Keys {
  readonly valid: string;
  /** Its limit is reached partway. */
  readonly limited: string;
  /** Some have been revoked. */
  readonly revocable: string[];
}

const pick = <T>(all: readonly T[]) => all[Math.floor(Math.random() * all.length)] as T;

/** An endless sequence of requests that interleaves all kinds. */
export function mixRequests(keys: Keys): () => PlannedRequest {
  let sent = 0;
  const read = (path: string, key = keys.valid) => ({ path, key });
  const readAny = (kind: string) => read(pick(changingCampaigns.filter((path) => path.includes(`/${kind}`))));
  const readNamed = (id: string) => read(`/v1/accounts/ag_1/campaigns/${id}`);
  /** How many of each 200 requests are of each kind. */
  const mix: [count: number, next: () => PlannedRequest][] = [
    [48, () => readAny('cmp')],
    [30, () => ({ ...readAny('cmp'), isConditional: true })],
    [10, () => ({ ...readAny('cmp'), method: 'HEAD' })],
    [10, () => readAny('flip')],
    [8, () => readAny('flaky')],
    [6, () => readNamed(`sick_${sent % 3}`)],
    [8, () => readNamed(`none_${sent % 5}`)],
    [16, () => readNamed(`once_${sent}`)],
    [3, () => ({ ...readNamed(pick(['cmp%2F1', 'cmp.1', 'cmp~1'])), expectedStatus: 400 })],
    [6, () => ({ ...read('/v1/accounts/ag_foreign/campaigns/cmp_1'), expectedStatus: 403 })],
    [2, () => ({ ...readAny('cmp'), method: 'DELETE', expectedStatus: 405 })],
    [2, () => ({ ...read('/v1/nowhere'), expectedStatus: 404 })],
    [20, () => ({ ...readAny('cmp'), key: keys.limited })],
    [24, () => ({ ...readAny('cmp'), key: pick(keys.revocable) })],
    [6, () => ({ ...readAny('cmp'), key: pick([makeKey().key, 'cgw_malformed', undefined]), expectedStatus: 401 })],
  ];
  const cycle = mix.flatMap(([count, next]) => Array.from({ length: count }, () => next));
  // The stride, 73, is coprime to the length of the cycle, so that all entries are visited.
  return () => (cycle[(sent++ * 73) % cycle.length] as () => PlannedRequest)();
}
