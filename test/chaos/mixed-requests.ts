import { type Clients, guesser, nobody } from './clients.ts';
import type { Ask, Client, Observation } from './observation.ts';

/** Those that are read again and again and change now and then. */
export const campaignIds = {
  ag_1: [...named('cmp', 8), ...named('flip', 3), ...named('ill', 2)],
  ag_2: [...named('cmp', 4), ...named('flip', 1)],
};

function named(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${kind}_${i}`);
}

/** So many a second of each, of 200. */
const shares = (from: MixedRequests): readonly [perS: number, next: () => Ask][] => [
  [48, () => from.read('cmp')],
  [30, () => from.readIfChanged()],
  [10, () => ({ ...from.read('cmp'), method: 'HEAD' })],
  [10, () => from.read('flip')],
  [8, () => from.read('ill')],
  [6, () => from.readBy(from.aReader(), `sick_${from.turn() % 3}`)],
  [8, () => from.readBy(from.aReader(), `none_${from.turn() % 5}`)],
  [16, () => from.readBy(from.aReader(), `once_${from.turn()}`)],
  [3, () => from.readBy(from.aReader(), ['cmp%2F1', 'cmp.1', 'cmp~1'][from.turn() % 3])],
  [6, () => from.readBy(from.aReader(), 'cmp_1', 'ag_foreign')],
  [2, () => ({ ...from.read('cmp'), method: 'DELETE' })],
  [2, () => ({ ...from.read('cmp'), path: '/v1/nowhere' })],
  [12, () => from.readBy(from.oneOf(from.clients.limited))],
  [8, () => from.readBy(from.clients.hourly)],
  [24, () => from.readBy(from.oneOf(from.clients.leaving))],
  [6, () => from.readBy(guesser())],
  [1, () => from.readBy(nobody)],
];

/** What is asked for, in an order that mixes all kinds. */
export class MixedRequests {
  readonly clients: Clients;
  readonly #wheel: (() => Ask)[];
  readonly #tags = new Map<string, string>();
  #beats = 0;
  #turns = 0;

  constructor(clients: Clients) {
    this.clients = clients;
    this.#wheel = shares(this).flatMap(([perS, next]) => Array.from({ length: perS }, () => next));
  }

  /** The stride and the size of the wheel, 200, have no common divisor. */
  readonly next = (): Ask => (this.#wheel[(this.#beats++ * 73) % this.#wheel.length] as () => Ask)();

  /** Keeps entity tags for conditional requests. */
  readonly seen = ({ status, path, header }: Observation): void => {
    if (status === 200) this.#tags.set(path, header('etag') ?? '');
  };

  turn(): number {
    return this.#turns++;
  }

  oneOf<T>(all: readonly T[]): T {
    return all[Math.floor(Math.random() * all.length)] as T;
  }

  aReader(): Client {
    return this.oneOf(this.clients.readers);
  }

  read(kind: string): Ask {
    const group = this.oneOf(['ag_1', 'ag_1', 'ag_2'] as const);
    const ids = campaignIds[group].filter((id) => id.startsWith(kind));
    return ids.length > 0 ? this.readBy(this.aReader(), this.oneOf(ids), group) : this.read(kind);
  }

  readIfChanged(): Ask {
    const ask = this.read('cmp');
    return { ...ask, ifNoneMatch: this.#tags.get(ask.path) };
  }

  readBy(client: Client, campaign = 'cmp_0', group = 'ag_1'): Ask {
    return { client, method: 'GET', path: `/v1/accounts/${group}/campaigns/${campaign}` };
  }
}
