import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { seededRandom, zipf } from './zipf.ts';

/** What a client process is told, as JSON in its first argument. */
export interface Wanted {
  readonly port: number;
  readonly scenario: Scenario;
  readonly connections: number;
  readonly seconds: number;
  /** One a line. */
  readonly keysFile: string;
  /** How many of them. */
  readonly keys: number;
  readonly campaigns: number;
  /** In the names of campaigns that nobody has asked for yet. */
  readonly salt: string;
  /** Requests a second, whether or not others have been answered; 0: each connection sends as soon as it has its answer. */
  readonly rate: number;
}

export type Scenario = 'hit' | 'spread' | 'miss' | 'zipf';

export interface Measured {
  readonly requests: number;
  readonly not200: number;
  /** Milliseconds, from when a request was due; but for the first second, in which this process is the slow one. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** The request with this number. */
function requestsOf({ scenario, keysFile, keys, campaigns, salt }: Wanted): (n: number) => string {
  const known = readFileSync(keysFile, 'utf8').trim().split('\n').slice(0, keys);
  const random = seededRandom(1);
  const rank = zipf(campaigns, random);
  const campaignOf: Record<Scenario, (n: number) => string> = {
    hit: () => 'cmp_0',
    spread: (n) => `cmp_${(n * 7919) % campaigns}`,
    miss: (n) => `cmp_${salt}_${n}`,
    zipf: () => `cmp_${rank()}`,
  };
  const campaign = campaignOf[scenario];
  return (n) =>
    `GET /v1/accounts/ag_1/campaigns/${campaign(n)} HTTP/1.1\r\nHost: bench\r\nX-API-Key: ${known[n % known.length]}\r\n\r\n`;
}

/** One connection, with one request under way. */
class Connection {
  readonly #socket: Socket;
  readonly #answered: (status: number) => void;
  #head = '';
  #left = 0;

  constructor(port: number, answered: (status: number) => void) {
    this.#answered = answered;
    this.#socket = connect(port, '127.0.0.1').setNoDelay(true);
    this.#socket.on('data', (piece: Buffer) => this.#read(piece));
  }

  send(request: string): void {
    this.#socket.write(request, 'latin1');
  }

  #read(piece: Buffer): void {
    if (this.#left > 0) {
      this.#left -= piece.length;
    } else {
      this.#head += piece.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#head)?.[1] ?? 0);
      this.#left = length - (this.#head.length - end - 4);
    }
    if (this.#left > 0) return;
    const status = Number(this.#head.slice(9, 12));
    this.#head = '';
    this.#left = 0;
    this.#answered(status);
  }
}

/** It takes so long until what sends the requests is compiled. */
const COLD_MS = 1000;

async function run(wanted: Wanted): Promise<Measured> {
  const request = requestsOf(wanted);
  const times: number[] = [];
  let sent = 0;
  let requests = 0;
  let not200 = 0;
  const startedAt = performance.now();
  let isOver = false;
  /** Requests that are due and have no connection yet: when they were. */
  const due: number[] = [];
  const idle: (() => void)[] = [];
  const next = (connection: Connection, began: { at: number }) => {
    const dueAt = wanted.rate > 0 ? due.shift() : performance.now();
    if (dueAt === undefined) {
      idle.push(() => next(connection, began));
      return;
    }
    began.at = dueAt;
    connection.send(request(sent++));
  };
  for (let i = 0; i < wanted.connections; i++) {
    const began = { at: 0 };
    const connection = new Connection(wanted.port, (status) => {
      requests++;
      if (began.at - startedAt >= COLD_MS) times.push(performance.now() - began.at);
      if (status !== 200) not200++;
      if (!isOver) next(connection, began);
    });
    next(connection, began);
  }
  let scheduled = 0;
  for (let now = startedAt; now - startedAt < wanted.seconds * 1000; now = performance.now()) {
    for (; scheduled < ((now - startedAt) / 1000) * wanted.rate; scheduled++) {
      due.push(startedAt + (scheduled * 1000) / wanted.rate);
      idle.pop()?.();
    }
    await pause(1);
  }
  isOver = true;
  const sorted = Float64Array.from(times).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { requests, not200, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
}

if (import.meta.main) {
  process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2] ?? '') as Wanted)), () => process.exit(0));
}
