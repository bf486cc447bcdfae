import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { LoadPlan, LoadResult } from './load-process.ts';

/**
 * A program that loads a gateway by a plan (its argument, JSON) and writes what came of it. It speaks HTTP just well enough:
 * what a request costs here has to be a fraction of what it costs there.
 */
const plan = JSON.parse(process.argv[2] ?? '') as LoadPlan;
const { hostname, port } = new URL(plan.url);
const request = `GET ${plan.path} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: ${plan.key}\r\n\r\n`;
const result: LoadResult = { cpuSeconds: 0, sent: 0, unsent: 0, late: 0, refused: 0, goodMs: [], strange: [] };

interface Client {
  readonly socket: Socket;
  text: string;
  /** The request under way. */
  sentAt: number;
}

const idle: Client[] = [];
/** In the order in which they were sent. */
const underWay = new Set<Client>();
let open = 0;
let isOver = false;

function openClient(ready: (client: Client) => void): void {
  open++;
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  const client: Client = { socket, text: '', sentAt: 0 };
  socket.once('connect', () => ready(client));
  socket.setEncoding('latin1').on('data', (chunk: string) => receive(client, chunk));
  socket.on('error', () => {});
  socket.once('close', () => {
    open--;
    if (underWay.delete(client)) note('a connection ended without an answer');
  });
}

/** Measured from here, not from when it was due: that this program is late is not the gateway's fault. */
function ask(client: Client): void {
  client.sentAt = performance.now();
  client.text = '';
  underWay.add(client);
  client.socket.write(request);
}

function receive(client: Client, chunk: string): void {
  client.text += chunk;
  const bodyAt = client.text.indexOf('\r\n\r\n') + 4;
  const length = Number(/^Content-Length: (\d+)/m.exec(client.text)?.[1]);
  if (bodyAt < 4 || client.text.length < bodyAt + length) return;
  underWay.delete(client);
  judge(client);
  if (plan.rate === 0 && !isOver) askNow(client);
  else idle.push(client);
}

function judge({ text, sentAt }: Client): void {
  const ms = performance.now() - sentAt;
  const traceId = /^X-Trace-Id: ([0-9a-f]{32})\r$/m.exec(text)?.[1];
  const status = text.slice(9, 12);
  const isWhole = text.endsWith(`"traceId":"${traceId}"}`);
  if (status === '200' && isWhole && text.includes('{"success":true,"data":{"id":')) result.goodMs.push(ms);
  else if (status === '503' && isWhole && text.includes('"code":"OVERLOADED"') && /^Retry-After: [1-9]\r$/m.test(text))
    result.refused++;
  else note(text);
}

function note(text: string): void {
  if (!isOver && result.strange.length < 10) result.strange.push(text);
}

function askNow(client: Client): void {
  result.sent++;
  ask(client);
}

function askByAny(): void {
  result.sent++;
  let client = idle.pop();
  while (client?.socket.destroyed) client = idle.pop();
  if (client) ask(client);
  else if (open < plan.maxConnections) openClient(ask);
  else result.unsent++;
}

function giveUpLate(): void {
  const limit = performance.now() - plan.patienceMs;
  for (const client of underWay) {
    if (client.sentAt > limit) return;
    underWay.delete(client);
    result.late++;
    client.socket.destroy();
    if (plan.rate === 0) openClient(askNow);
  }
}

/** In all of its life; in hundredths, as Linux tells it. */
function cpuSeconds(): number {
  if (plan.pid === undefined) return 0;
  const fields = readFileSync(`/proc/${plan.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

await new Promise<void>((resolve) => {
  let ready = 0;
  for (let i = 0; i < plan.connections; i++) {
    openClient((client) => {
      idle.push(client);
      if (++ready === plan.connections) resolve();
    });
  }
});
const since = performance.now();
const cpuBefore = cpuSeconds();
const elapsedMs = () => performance.now() - since;
setInterval(giveUpLate, 20);
if (plan.rate === 0) for (const client of idle.splice(0)) askNow(client);
while (elapsedMs() < plan.seconds * 1000) {
  const due = plan.rate === 0 ? 0 : Math.floor((elapsedMs() * plan.rate) / 1000);
  while (result.sent < due) askByAny();
  await new Promise((resolve) => setTimeout(resolve, 1));
}
isOver = true;
result.cpuSeconds = cpuSeconds() - cpuBefore;
// What is under way still has its time.
while (underWay.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
process.stdout.write(JSON.stringify(result), () => process.exit(0));
