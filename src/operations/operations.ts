import { createServer, type Server } from 'node:http';
import express, { type ErrorRequestHandler, type Request, type RequestHandler, type Response } from 'express';
import { z } from 'zod';
import { type LogLevel, logLevelSchema, logLevels } from '../telemetry/log-level.ts';
import { prometheusContentType, prometheusText } from '../telemetry/prometheus.ts';
import type { WorkerGroup } from '../workers/worker-group.ts';
import { requireToken } from './require-token.ts';

export interface OperationsOptions {
  /** Resolves when the public port accepts connections. Until then `/readyz` waits. */
  readonly started: Promise<void>;
  isShuttingDown(): boolean;
  /** The state of each dependency. No state makes the gateway unready. */
  dependencies(): Readonly<Record<string, string>>;
  /** The processes that share the operations port. Metrics and log level are those of all of them. */
  readonly workerGroup: WorkerGroup;
  /** Bearer token of write requests; undefined if they need none. */
  readonly token: string | undefined;
  /** Serve `POST /cache/invalidations`. */
  readonly postInvalidations: readonly RequestHandler[];
}

/**
 * The operations listener: `GET /livez`, `GET /readyz`, `GET /metrics`, `GET` and `PUT /log-level`, and
 * `POST /cache/invalidations`.
 */
export function createOperations(options: OperationsOptions): Server {
  const { started, isShuttingDown, dependencies, workerGroup } = options;
  const app = express()
    .disable('x-powered-by')
    .disable('etag')
    .enable('case sensitive routing')
    .enable('strict routing');
  const server = createServer(app);
  app.use((_request, response, next) => {
    response.setHeader('cache-control', 'no-store');
    if (isShuttingDown() || !server.listening) response.setHeader('connection', 'close');
    next();
  });
  app.use(requireToken(options.token));
  app
    .route('/livez')
    .get((_request, response) => void response.json({ status: 'alive' }))
    .all(methodNotAllowed('GET'));
  app
    .route('/readyz')
    .get(async (_request, response) => {
      await started;
      const ready = !isShuttingDown();
      const status = ready ? 'ready' : 'shutting_down';
      response.status(ready ? 200 : 503).json({ status, dependencies: dependencies() });
    })
    .all(methodNotAllowed('GET'));
  app
    .route('/metrics')
    .get((_request, response) => sendMetrics(workerGroup, response))
    .all(methodNotAllowed('GET'));
  app
    .route('/log-level')
    .get((_request, response) => void response.json({ level: workerGroup.level() }))
    .put(express.text({ type: () => true }), (request, response) => changeLevel(workerGroup, request, response))
    .all(methodNotAllowed('GET', 'PUT'));
  app
    .route('/cache/invalidations')
    .post(...options.postInvalidations)
    .all(methodNotAllowed('POST'));
  app.use((_request, response) => void response.status(404).json({ error: 'No route matches this path.' }));
  app.use(onError);
  return server;
}

function methodNotAllowed(...methods: readonly string[]) {
  return (_request: Request, response: Response) => {
    response.setHeader('allow', methods.map((method) => (method === 'GET' ? 'GET, HEAD' : method)).join(', '));
    response.status(405).json({ error: `Use ${methods.join(' or ')}.` });
  };
}

/** A body that Express rejects, such as a 413; else a 503, so that Prometheus sees a failed scrape. */
const onError: ErrorRequestHandler = (error, _request, response, _next) => {
  if (response.headersSent) response.destroy();
  else response.status(error.status ?? 503).json({ error: error.message });
};

async function sendMetrics(workerGroup: WorkerGroup, response: Response): Promise<void> {
  const text = prometheusText(await workerGroup.scrape());
  response.setHeader('content-type', prometheusContentType);
  response.end(text);
}

async function changeLevel(workerGroup: WorkerGroup, { body }: Request, response: Response): Promise<void> {
  const level = parseLogLevel(String(body ?? ''));
  if (!level) {
    response.status(400).json({ error: 'Send a log level, such as debug or {"level":"debug"}.', levels: logLevels });
    return;
  }
  await workerGroup.changeLevel(level);
  response.json({ level });
}

const bodySchema = z.strictObject({ level: logLevelSchema });

/** Parses `debug` or `{"level":"debug"}`; undefined for anything else. */
function parseLogLevel(text: string): LogLevel | undefined {
  try {
    return logLevelSchema.safeParse(text.trim()).data ?? bodySchema.safeParse(JSON.parse(text)).data?.level;
  } catch {
    return undefined;
  }
}
