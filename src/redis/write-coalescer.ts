import type { Socket } from 'node:net';
import { Cluster, type Redis } from 'ioredis';

/**
 * Sends the commands of one turn of the event loop in one system call per connection, with Node's `cork` and `uncork`.
 * Unlike ioredis auto-pipelining, it does not hold the next batch back until the replies have arrived. Nor does it replay a
 * whole pipeline after a cluster redirection, which would count requests twice.
 */
export class WriteCoalescer {
  readonly #client: Redis | Cluster;
  #corked: readonly Socket[] | undefined;
  #callbacks = new Set<() => void>();

  constructor(client: Redis | Cluster) {
    this.#client = client;
  }

  /** Call before a command is passed to the client. */
  cork(): void {
    if (this.#corked) return;
    this.#corked = getSockets(this.#client);
    for (const socket of this.#corked) socket.cork();
    setImmediate(() => this.#flush());
  }

  /** Runs `callback` once at the end of this turn. The commands it sends are part of the same write. */
  beforeFlush(callback: () => void): void {
    this.cork();
    this.#callbacks.add(callback);
  }

  #flush(): void {
    const callbacks = this.#callbacks;
    this.#callbacks = new Set();
    for (const run of callbacks) run();
    for (const socket of this.#corked ?? []) socket.uncork();
    this.#corked = undefined;
  }
}

/** A cluster node without a connection yet has no socket. */
function getSockets(client: Redis | Cluster): Socket[] {
  const nodes = client instanceof Cluster ? client.nodes() : [client];
  return nodes.map((node) => node.stream as Socket | undefined).filter((socket) => socket !== undefined);
}
