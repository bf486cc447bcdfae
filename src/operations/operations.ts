import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { logLevels } from '../telemetry/log-level.ts';
import { prometheusContentType, prometheusText } from '../telemetry/prometheus.ts';
import type { Group } from '../workers/group.ts';
import { readWantedLevel } from './wanted-level.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

interface Route {
  /** Of HEAD too. */
  readonly GET: Handler;
  readonly PUT?: Handler;
}

export interface OperationsParts {
  isShuttingDown(): boolean;
  /** The state of each dependency; none of them makes the gateway unready. */
  dependencies(): Readonly<Record<string, string>>;
  /** The processes that share the operations port: whichever answers, speaks for all of them. */
  readonly group: Group;
}

/** The operations listener: `GET /livez`, `GET /readyz`, `GET /metrics`, and `GET` and `PUT /log-level`. */
export function createOperations({ isShuttingDown, dependencies, group }: OperationsParts): Server {
  const routes: Readonly<Record<string, Route>> = {
    '/livez': { GET: (_request, response) => sendJson(response, 200, { status: 'alive' }) },
    '/readyz': {
      GET: (_request, response) => {
        const ready = !isShuttingDown();
        const status = ready ? 'ready' : 'shutting_down';
        sendJson(response, ready ? 200 : 503, { status, dependencies: dependencies() });
      },
    },
    '/metrics': { GET: (_request, response) => sendMetrics(group, response) },
    '/log-level': {
      GET: (_request, response) => sendJson(response, 200, { level: group.level() }),
      PUT: (request, response) => changeLevel(group, request, response),
    },
  };
  const server = createServer((request, response) => {
    if (!server.listening) response.setHeader('connection', 'close');
    const route = routes[(request.url ?? '').split('?')[0] ?? ''];
    if (!route) return sendJson(response, 404, { error: 'no such path' });
    const handle = handlerOf(route, request.method);
    if (handle) return void answer(handle, request, response);
    response.setHeader('allow', route.PUT ? 'GET, HEAD, PUT' : 'GET, HEAD');
    sendJson(response, 405, { error: route.PUT ? 'use GET or PUT' : 'use GET' });
  });
  return server;
}

function handlerOf(route: Route, method: string | undefined): Handler | undefined {
  if (method === 'GET' || method === 'HEAD') return route.GET;
  return method === 'PUT' ? route.PUT : undefined;
}

async function answer(handle: Handler, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await handle(request, response);
  } catch (error) {
    if (response.headersSent || response.destroyed) response.destroy();
    else sendJson(response, 503, { error: error instanceof Error ? error.message : 'this cannot be answered' });
  }
}

/** Rather a 503 than half the numbers: Prometheus sees that the scrape has failed. */
async function sendMetrics(group: Group, response: ServerResponse): Promise<void> {
  const text = prometheusText(await group.scrape());
  response.writeHead(200, { 'content-type': prometheusContentType, 'cache-control': 'no-store' }).end(text);
}

async function changeLevel(group: Group, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const level = await readWantedLevel(request);
  if (!level) {
    response.setHeader('connection', 'close'); // The rest of the body is not waited for.
    return sendJson(response, 400, {
      error: 'Send a log level, such as debug or {"level":"debug"}.',
      levels: logLevels,
    });
  }
  await group.changeLevel(level);
  sendJson(response, 200, { level });
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}
