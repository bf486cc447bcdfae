import type { Socket } from 'node:net';
import { Cluster, type Redis } from 'ioredis';

/** Under overload a turn takes tenths of a second (see `openEventLoopProbe`): what it sends does not wait for its end. */
const MAX_HOLD_MS = 5;

/**
 * The calls of one turn of the event loop: what they send goes out at its end, in one system call for each connection.
 * ioredis' own auto-pipelining does that too, but has the calls of the next turn wait for the answers of this one, and in a
 * cluster may send all of a pipeline again for the sake of one redirection, which counts twice.
 */
export class WriteCoalescer {
  readonly #client: Redis | Cluster;
  #corked: readonly Socket[] | undefined;
  #corkedAt = 0;
  #callbacks: (() => void)[] = [];

  constructor(client: Redis | Cluster) {
    this.#client = client;
  }

  /** To be called before a command is given to the client. */
  cork(): void {
    const now = performance.now();
    if (this.#corked) {
      if (now - this.#corkedAt < MAX_HOLD_MS) return;
      this.#flush();
    } else setImmediate(() => this.#flush());
    this.#corkedAt = now;
    this.#corked = socketsOf(this.#client);
    for (const socket of this.#corked) socket.cork();
  }

  /** Runs `last` at the end of this turn, once however often it is asked to; what it sends still goes with it. */
  beforeFlush(callback: () => void): void {
    this.cork();
    if (!this.#callbacks.includes(callback)) this.#callbacks.push(callback);
  }

  #flush(): void {
    const [corked = [], callback] = [this.#corked, this.#callbacks];
    this.#callbacks = [];
    this.#corkedAt = Number.POSITIVE_INFINITY; // Whatever these still send goes with it.
    try {
      for (const run of callback) run();
    } finally {
      this.#corked = undefined;
      for (const socket of corked) socket.uncork();
    }
  }
}

/** Those that are connected, or about to be. */
function socketsOf(client: Redis | Cluster): Socket[] {
  const nodes = client instanceof Cluster ? client.nodes() : [client];
  return nodes.map((node) => node.stream as Socket | undefined).filter((socket) => socket !== undefined);
}
