import { createServer, type Server } from 'node:http';

export interface OperationsParts {
  isShuttingDown(): boolean;
  /** The state of each dependency; none of them makes the gateway unready. */
  dependencies(): Readonly<Record<string, string>>;
}

/** The operations listener: `GET /livez` and `GET /readyz`. */
export function createOperations({ isShuttingDown, dependencies }: OperationsParts): Server {
  const routes: Readonly<Record<string, () => [status: number, body: object]>> = {
    '/livez': () => [200, { status: 'alive' }],
    '/readyz': () => {
      const ready = !isShuttingDown();
      return [
        ready ? 200 : 503,
        {
          status: ready ? 'ready' : 'shutting_down',
          dependencies: dependencies(),
        },
      ];
    },
  };
  return createServer((request, response) => {
    const route = routes[(request.url ?? '').split('?')[0] ?? ''];
    const allowed = request.method === 'GET' || request.method === 'HEAD';
    const [status, body] = !route ? [404, { error: 'no such path' }] : allowed ? route() : [405, { error: 'use GET' }];
    response.writeHead(status, {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      ...(status === 405 && { allow: 'GET, HEAD' }),
    });
    response.end(`${JSON.stringify(body)}\n`);
  });
}
