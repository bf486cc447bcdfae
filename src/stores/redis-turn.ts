import type { Socket } from 'node:net';
import { Cluster, type Redis } from 'ioredis';

/** Under overload a turn takes tenths of a second (see `openEventLoopProbe`): what it sends does not wait for its end. */
const LONGEST_MS = 5;

/**
 * The calls of one turn of the event loop: what they send goes out at its end, in one system call for each connection.
 * ioredis' own auto-pipelining does that too, but has the calls of the next turn wait for the answers of this one, and in a
 * cluster may send all of a pipeline again for the sake of one redirection, which counts twice.
 */
export class RedisTurn {
  readonly #client: Redis | Cluster;
  #held: readonly Socket[] | undefined;
  #beganAt = 0;
  #last: (() => void)[] = [];

  constructor(client: Redis | Cluster) {
    this.#client = client;
  }

  /** To be called before a command is given to the client. */
  begin(): void {
    const now = performance.now();
    if (this.#held) {
      if (now - this.#beganAt < LONGEST_MS) return;
      this.#end();
    } else setImmediate(() => this.#end());
    this.#beganAt = now;
    this.#held = socketsOf(this.#client);
    for (const socket of this.#held) socket.cork();
  }

  /** Runs `last` at the end of this turn, once however often it is asked to; what it sends still goes with it. */
  atEnd(last: () => void): void {
    this.begin();
    if (!this.#last.includes(last)) this.#last.push(last);
  }

  #end(): void {
    const [held = [], last] = [this.#held, this.#last];
    this.#last = [];
    this.#beganAt = Number.POSITIVE_INFINITY; // Whatever these still send goes with it.
    try {
      for (const run of last) run();
    } finally {
      this.#held = undefined;
      for (const socket of held) socket.uncork();
    }
  }
}

/** Those that are connected, or about to be. */
function socketsOf(client: Redis | Cluster): Socket[] {
  const nodes = client instanceof Cluster ? client.nodes() : [client];
  return nodes.map((node) => node.stream as Socket | undefined).filter((socket) => socket !== undefined);
}
