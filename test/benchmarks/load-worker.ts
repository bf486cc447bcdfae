import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import type { LoadPlan, Outcome } from './load.ts';

/** A minimal HTTP client, because a request must cost a fraction of what it costs the gateway. */
const plan: Required<LoadPlan> = {
  rate: 0,
  campaigns: 1,
  path: '/v1/accounts/ag_1/campaigns/cmp_',
  clientTimeoutMs: 60_000,
  pid: process.pid,
  ...(workerData as LoadPlan),
};
const { hostname, port } = new URL(plan.url);
const isClosedLoop = plan.rate === 0;

interface Client {
  readonly socket: Socket;
  text: string;
  /** Of the request in flight. */
  sentAtMs: number;
}

const outcomes: Outcome[] = [];
const samples: Record<number, string> = {};
const clients = new Set<Client>();
const idle: Client[] = [];
/** In the order in which their requests were sent. */
const inFlight = new Set<Client>();
let sent = 0;
let isOver = false;

function openClient(): Client {
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  const client: Client = { socket, text: '', sentAtMs: 0 };
  clients.add(client);
  socket.setEncoding('latin1').on('data', (chunk: string) => receive(client, chunk));
  socket.on('error', () => {});
  socket.once('close', () => closeClient(client));
  return client;
}

function closeClient(client: Client): void {
  clients.delete(client);
  client.socket.destroy();
  if (inFlight.has(client)) finish(client, 0);
}

function takeClient(): Client | undefined {
  let client = idle.pop();
  while (client?.socket.destroyed) client = idle.pop();
  return client ?? (clients.size < plan.connections ? openClient() : undefined);
}

/** Latency starts here, not when the request was due: a delay of this program is not the gateway's. */
function sendRequest(): void {
  const sentAtMs = performance.now();
  const path = plan.path + ((sent % plan.campaigns) + 1);
  const key = plan.keys[sent % plan.keys.length];
  sent++;
  const client = takeClient();
  if (!client) {
    outcomes.push({ status: 0, sentAtMs, ms: 0 });
    return;
  }
  client.sentAtMs = sentAtMs;
  client.text = '';
  inFlight.add(client);
  client.socket.write(`GET ${path} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: ${key}\r\n\r\n`);
}

function receive(client: Client, chunk: string): void {
  client.text += chunk;
  const bodyAt = client.text.indexOf('\r\n\r\n') + 4;
  const length = Number(/^Content-Length: (\d+)/im.exec(client.text)?.[1]);
  if (bodyAt < 4 || client.text.length < bodyAt + length || !inFlight.has(client)) return;
  const status = Number(client.text.slice(9, 12));
  samples[status] ??= client.text;
  idle.push(client);
  finish(client, status);
}

function finish(client: Client, status: number): void {
  inFlight.delete(client);
  outcomes.push({ status, sentAtMs: client.sentAtMs, ms: performance.now() - client.sentAtMs });
  if (isClosedLoop && !isOver) sendRequest();
}

function disconnectTimedOut(): void {
  const limit = performance.now() - plan.clientTimeoutMs;
  for (const client of inFlight) {
    if (client.sentAtMs > limit) return;
    closeClient(client);
  }
}

/** Total CPU time of the measured process. Linux counts in hundredths of a second. */
function readCpuSeconds(): number {
  const fields = readFileSync(`/proc/${plan.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

for (let i = 0; i < plan.connections; i++) idle.push(openClient());
await Promise.all(idle.map(({ socket }) => once(socket, 'connect')));
const startedAt = performance.now();
const cpuSecondsBefore = readCpuSeconds();
setInterval(disconnectTimedOut, 20);
if (isClosedLoop) for (let i = 0; i < plan.connections; i++) sendRequest();
for (let elapsed = 0; elapsed < plan.seconds * 1000; elapsed = performance.now() - startedAt) {
  while (sent < Math.floor((elapsed * plan.rate) / 1000)) sendRequest();
  await pause(1);
}
isOver = true;
const cpuSeconds = readCpuSeconds() - cpuSecondsBefore;
// Requests in flight run to completion or to their timeout.
while (inFlight.size > 0) await pause(10);
parentPort?.postMessage({ outcomes, samples, cpuSeconds });
process.exit();
