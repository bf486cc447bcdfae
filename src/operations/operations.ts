import { createServer, type Server } from 'node:http';
import express, { type ErrorRequestHandler, type Request, type Response } from 'express';
import { logLevels } from '../telemetry/log-level.ts';
import { prometheusContentType, prometheusText } from '../telemetry/prometheus.ts';
import type { WorkerGroup } from '../workers/worker-group.ts';
import { parseLogLevelBody } from './parse-log-level.ts';

export interface OperationsOptions {
  isShuttingDown(): boolean;
  /** The state of each dependency; none of them makes the gateway unready. */
  dependencies(): Readonly<Record<string, string>>;
  /** The processes that share the operations port: whichever answers, speaks for all of them. */
  readonly workerGroup: WorkerGroup;
}

/** The operations listener: `GET /livez`, `GET /readyz`, `GET /metrics`, and `GET` and `PUT /log-level`. */
export function createOperations({ isShuttingDown, dependencies, workerGroup: group }: OperationsOptions): Server {
  const app = express()
    .disable('x-powered-by')
    .disable('etag')
    .enable('case sensitive routing')
    .enable('strict routing');
  const server = createServer(app);
  app.use((_request, response, next) => {
    response.setHeader('cache-control', 'no-store');
    if (!server.listening) response.setHeader('connection', 'close');
    next();
  });
  app
    .route('/livez')
    .get((_request, response) => void response.json({ status: 'alive' }))
    .all(methodNotAllowed('GET'));
  app
    .route('/readyz')
    .get((_request, response) => {
      const ready = !isShuttingDown();
      const status = ready ? 'ready' : 'shutting_down';
      response.status(ready ? 200 : 503).json({ status, dependencies: dependencies() });
    })
    .all(methodNotAllowed('GET'));
  app
    .route('/metrics')
    .get((_request, response) => sendMetrics(group, response))
    .all(methodNotAllowed('GET'));
  app
    .route('/log-level')
    .get((_request, response) => void response.json({ level: group.level() }))
    .put((request, response) => changeLevel(group, request, response))
    .all(methodNotAllowed('GET', 'PUT'));
  app.use((_request, response) => void response.status(404).json({ error: 'no such path' }));
  app.use(onError);
  return server;
}

function methodNotAllowed(...methods: readonly string[]) {
  return (_request: Request, response: Response) => {
    response.setHeader('allow', methods.map((method) => (method === 'GET' ? 'GET, HEAD' : method)).join(', '));
    response.status(405).json({ error: `use ${methods.join(' or ')}` });
  };
}

/** Rather a 503 than half the numbers: Prometheus sees that the scrape has failed. */
const onError: ErrorRequestHandler = (error, _request, response, _next) => {
  if (response.headersSent) response.destroy();
  else response.status(503).json({ error: error instanceof Error ? error.message : 'this cannot be answered' });
};

async function sendMetrics(group: WorkerGroup, response: Response): Promise<void> {
  const text = prometheusText(await group.scrape());
  response.setHeader('content-type', prometheusContentType);
  response.end(text);
}

async function changeLevel(group: WorkerGroup, request: Request, response: Response): Promise<void> {
  const level = await parseLogLevelBody(request);
  if (!level) {
    response.setHeader('connection', 'close'); // The rest of the body is not waited for.
    response.status(400).json({ error: 'Send a log level, such as debug or {"level":"debug"}.', levels: logLevels });
    return;
  }
  await group.changeLevel(level);
  response.json({ level });
}
