import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

import { prometheusContentType, prometheusText } from '../telemetry/prometheus.ts';
import type { Snapshot } from '../telemetry/snapshot.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export interface OperationsParts {
  isShuttingDown(): boolean;
  /** The state of each dependency; none of them makes the gateway unready. */
  dependencies(): Readonly<Record<string, string>>;
  /** What has been counted, by all processes that share the operations port. */
  scrape(): Promise<Snapshot>;
}

/** The operations listener: `GET /livez`, `GET /readyz` and `GET /metrics`. */
export function createOperations({ isShuttingDown, dependencies, scrape }: OperationsParts): Server {
  const routes: Readonly<Record<string, Handler>> = {
    '/livez': (_request, response) => sendJson(response, 200, { status: 'alive' }),
    '/readyz': (_request, response) => {
      const ready = !isShuttingDown();
      const status = ready ? 'ready' : 'shutting_down';
      sendJson(response, ready ? 200 : 503, { status, dependencies: dependencies() });
    },
    '/metrics': (_request, response) => void sendMetrics(response, scrape),
  };
  return createServer((request, response) => {
    const route = routes[(request.url ?? '').split('?')[0] ?? ''];
    if (!route) return sendJson(response, 404, { error: 'no such path' });
    if (request.method === 'GET' || request.method === 'HEAD') return route(request, response);
    response.setHeader('allow', 'GET, HEAD');
    sendJson(response, 405, { error: 'use GET' });
  });
}

async function sendMetrics(response: ServerResponse, scrape: OperationsParts['scrape']): Promise<void> {
  try {
    const text = prometheusText(await scrape());
    response.writeHead(200, { 'content-type': prometheusContentType, 'cache-control': 'no-store' }).end(text);
  } catch (error) {
    // Rather no numbers than wrong ones: Prometheus sees that the scrape has failed.
    sendJson(response, 503, { error: error instanceof Error ? error.message : 'the metrics cannot be collected' });
  }
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}
