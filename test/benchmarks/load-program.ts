import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { LoadPlan, LoadResult } from './load-process.ts';

/**
 * Loads a gateway by the `LoadPlan` in its argument and prints a `LoadResult`. A minimal HTTP client, because a request
 * must cost a fraction of what it costs the gateway.
 */
const plan = JSON.parse(process.argv[2] ?? '') as LoadPlan;
const { hostname, port } = new URL(plan.url);
const request = `GET ${plan.path} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: ${plan.key}\r\n\r\n`;
const result: LoadResult = { cpuSeconds: 0, sent: 0, unsent: 0, timedOut: 0, refused: 0, goodMs: [], unexpected: [] };

interface Client {
  readonly socket: Socket;
  text: string;
  /** Of the request in flight. */
  sentAt: number;
}

const idle: Client[] = [];
/** In the order in which their requests were sent. */
const inFlight = new Set<Client>();
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
    if (inFlight.delete(client)) recordUnexpected('a connection closed without a response');
  });
}

/** Latency starts here, not when the request was due: a delay of this program is not the gateway's. */
function send(client: Client): void {
  client.sentAt = performance.now();
  client.text = '';
  inFlight.add(client);
  client.socket.write(request);
}

function receive(client: Client, chunk: string): void {
  client.text += chunk;
  const bodyAt = client.text.indexOf('\r\n\r\n') + 4;
  const length = Number(/^Content-Length: (\d+)/m.exec(client.text)?.[1]);
  if (bodyAt < 4 || client.text.length < bodyAt + length) return;
  inFlight.delete(client);
  recordResponse(client);
  if (plan.rate === 0 && !isOver) sendNext(client);
  else idle.push(client);
}

function recordResponse({ text, sentAt }: Client): void {
  const ms = performance.now() - sentAt;
  const traceId = /^X-Trace-Id: ([0-9a-f]{32})\r$/m.exec(text)?.[1];
  const status = text.slice(9, 12);
  const isComplete = text.endsWith(`"traceId":"${traceId}"}`);
  if (status === '200' && isComplete && text.includes('{"success":true,"data":{"id":')) result.goodMs.push(ms);
  else if (
    status === '503' &&
    isComplete &&
    text.includes('"code":"OVERLOADED"') &&
    /^Retry-After: [1-9]\r$/m.test(text)
  )
    result.refused++;
  else recordUnexpected(text);
}

function recordUnexpected(text: string): void {
  if (!isOver && result.unexpected.length < 10) result.unexpected.push(text);
}

function sendNext(client: Client): void {
  result.sent++;
  send(client);
}

function sendFromAnyClient(): void {
  result.sent++;
  let client = idle.pop();
  while (client?.socket.destroyed) client = idle.pop();
  if (client) send(client);
  else if (open < plan.maxConnections) openClient(send);
  else result.unsent++;
}

function disconnectTimedOut(): void {
  const limit = performance.now() - plan.clientTimeoutMs;
  for (const client of inFlight) {
    if (client.sentAt > limit) return;
    inFlight.delete(client);
    result.timedOut++;
    client.socket.destroy();
    if (plan.rate === 0) openClient(sendNext);
  }
}

/** Total CPU time of the measured process. Linux counts in hundredths of a second. */
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
setInterval(disconnectTimedOut, 20);
if (plan.rate === 0) for (const client of idle.splice(0)) sendNext(client);
while (elapsedMs() < plan.seconds * 1000) {
  const due = plan.rate === 0 ? 0 : Math.floor((elapsedMs() * plan.rate) / 1000);
  while (result.sent < due) sendFromAnyClient();
  await new Promise((resolve) => setTimeout(resolve, 1));
}
isOver = true;
result.cpuSeconds = cpuSeconds() - cpuBefore;
// Requests in flight run to completion or to their timeout.
while (inFlight.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
process.stdout.write(JSON.stringify(result), () => process.exit(0));
