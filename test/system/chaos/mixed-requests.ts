import { anonymous, type Clients, guesser } from './clients.ts';
import type { Client, Observation, PlannedRequest } from './observation.ts';

/** Campaigns that are read repeatedly and change from time to time. */
export const campaignIds = {
  ag_1: [...numbered('cmp', 8), ...numbered('flip', 3), ...numbered('flaky', 2)],
  ag_2: [...numbered('cmp', 4), ...numbered('flip', 1)],
};

function numbered(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${kind}_${i}`);
}

/** How many of each 200 requests are of each kind. */
const mix = (from: MixedRequests): readonly [count: number, next: () => PlannedRequest][] => [
  [48, () => from.read('cmp')],
  [30, () => from.readIfChanged()],
  [10, () => ({ ...from.read('cmp'), method: 'HEAD' })],
  [10, () => from.read('flip')],
  [8, () => from.read('flaky')],
  [6, () => from.readAs(from.pickReader(), `sick_${from.nextNumber() % 3}`)],
  [8, () => from.readAs(from.pickReader(), `none_${from.nextNumber() % 5}`)],
  [16, () => from.readAs(from.pickReader(), `once_${from.nextNumber()}`)],
  [3, () => from.readAs(from.pickReader(), ['cmp%2F1', 'cmp.1', 'cmp~1'][from.nextNumber() % 3])],
  [6, () => from.readAs(from.pickReader(), 'cmp_1', 'ag_foreign')],
  [2, () => ({ ...from.read('cmp'), method: 'DELETE' })],
  [2, () => ({ ...from.read('cmp'), path: '/v1/nowhere' })],
  [12, () => from.readAs(from.pick(from.clients.limited))],
  [8, () => from.readAs(from.clients.hourly)],
  [24, () => from.readAs(from.pick(from.clients.revocable))],
  [6, () => from.readAs(guesser())],
  [1, () => from.readAs(anonymous)],
];

/** An endless sequence of requests that interleaves all kinds. */
export class MixedRequests {
  readonly clients: Clients;
  readonly #cycle: (() => PlannedRequest)[];
  readonly #etags = new Map<string, string>();
  #sent = 0;
  #number = 0;

  constructor(clients: Clients) {
    this.clients = clients;
    this.#cycle = mix(this).flatMap(([count, next]) => Array.from({ length: count }, () => next));
  }

  /** The stride, 73, is coprime to the cycle length, so that all entries are visited. */
  readonly next = (): PlannedRequest =>
    (this.#cycle[(this.#sent++ * 73) % this.#cycle.length] as () => PlannedRequest)();

  /** Stores entity tags for conditional requests. */
  readonly onObservation = ({ status, path, header }: Observation): void => {
    if (status === 200) this.#etags.set(path, header('etag') ?? '');
  };

  nextNumber(): number {
    return this.#number++;
  }

  pick<T>(all: readonly T[]): T {
    return all[Math.floor(Math.random() * all.length)] as T;
  }

  pickReader(): Client {
    return this.pick(this.clients.readers);
  }

  read(kind: string): PlannedRequest {
    const group = this.pick(['ag_1', 'ag_1', 'ag_2'] as const);
    const ids = campaignIds[group].filter((id) => id.startsWith(kind));
    return ids.length > 0 ? this.readAs(this.pickReader(), this.pick(ids), group) : this.read(kind);
  }

  readIfChanged(): PlannedRequest {
    const request = this.read('cmp');
    return { ...request, ifNoneMatch: this.#etags.get(request.path) };
  }

  readAs(client: Client, campaign = 'cmp_0', group = 'ag_1'): PlannedRequest {
    return { client, method: 'GET', path: `/v1/accounts/${group}/campaigns/${campaign}` };
  }
}
