import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { seededRandom, zipf } from './zipf.ts';

/** The JSON in the first argument of a client process. */
export interface LoadPlan {
  readonly port: number;
  readonly scenario: Scenario;
  readonly connections: number;
  readonly seconds: number;
  /** One key per line. */
  readonly keysFile: string;
  /** How many keys to use. */
  readonly keys: number;
  readonly campaigns: number;
  /** Makes the campaign ids of the scenario `miss` unique. */
  readonly salt: string;
  /** Requests per second of an open loop. 0: closed loop, each connection sends its next request at once. */
  readonly rate: number;
}

export type Scenario = 'hit' | 'spread' | 'miss' | 'zipf';

export interface Measurement {
  readonly requests: number;
  readonly not200: number;
  /** Latencies in milliseconds from when a request was due, without the warm-up of this process. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Returns a function that builds the n-th request. */
function createRequests({ scenario, keysFile, keys, campaigns, salt }: LoadPlan): (n: number) => string {
  const usedKeys = readFileSync(keysFile, 'utf8').trim().split('\n').slice(0, keys);
  const random = seededRandom(1);
  const rank = zipf(campaigns, random);
  const campaignByScenario: Record<Scenario, (n: number) => string> = {
    hit: () => 'cmp_0',
    spread: (n) => `cmp_${(n * 7919) % campaigns}`,
    miss: (n) => `cmp_${salt}_${n}`,
    zipf: () => `cmp_${rank()}`,
  };
  const campaign = campaignByScenario[scenario];
  return (n) =>
    `GET /v1/accounts/ag_1/campaigns/${campaign(n)} HTTP/1.1\r\nHost: bench\r\nX-API-Key: ${usedKeys[n % usedKeys.length]}\r\n\r\n`;
}

/** A connection with at most one request in flight. */
class Connection {
  readonly #socket: Socket;
  readonly #onResponse: (status: number) => void;
  #head = '';
  #left = 0;

  constructor(port: number, onResponse: (status: number) => void) {
    this.#onResponse = onResponse;
    this.#socket = connect(port, '127.0.0.1').setNoDelay(true);
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  send(request: string): void {
    this.#socket.write(request, 'latin1');
  }

  #read(chunk: Buffer): void {
    if (this.#left > 0) {
      this.#left -= chunk.length;
    } else {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#head)?.[1] ?? 0);
      this.#left = length - (this.#head.length - end - 4);
    }
    if (this.#left > 0) return;
    const status = Number(this.#head.slice(9, 12));
    this.#head = '';
    this.#left = 0;
    this.#onResponse(status);
  }
}

/** Until V8 has optimized this program. */
const WARM_UP_MS = 1000;

async function run(plan: LoadPlan): Promise<Measurement> {
  const request = createRequests(plan);
  const latencies: number[] = [];
  let sent = 0;
  let requests = 0;
  let not200 = 0;
  const startedAt = performance.now();
  let isOver = false;
  /** When the requests that wait for a connection were due. */
  const due: number[] = [];
  const idle: (() => void)[] = [];
  const next = (connection: Connection, current: { dueAt: number }) => {
    const dueAt = plan.rate > 0 ? due.shift() : performance.now();
    if (dueAt === undefined) {
      idle.push(() => next(connection, current));
      return;
    }
    current.dueAt = dueAt;
    connection.send(request(sent++));
  };
  for (let i = 0; i < plan.connections; i++) {
    const current = { dueAt: 0 };
    const connection = new Connection(plan.port, (status) => {
      requests++;
      if (current.dueAt - startedAt >= WARM_UP_MS) latencies.push(performance.now() - current.dueAt);
      if (status !== 200) not200++;
      if (!isOver) next(connection, current);
    });
    next(connection, current);
  }
  let scheduled = 0;
  for (let now = startedAt; now - startedAt < plan.seconds * 1000; now = performance.now()) {
    for (; scheduled < ((now - startedAt) / 1000) * plan.rate; scheduled++) {
      due.push(startedAt + (scheduled * 1000) / plan.rate);
      idle.pop()?.();
    }
    await pause(1);
  }
  isOver = true;
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { requests, not200, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
}

if (import.meta.main) {
  process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2] ?? '') as LoadPlan)), () => process.exit(0));
}
