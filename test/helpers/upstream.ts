import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen } from './listen.ts';

export type Responder = (request: IncomingMessage, response: ServerResponse) => void;

/** Parses the ids from the gateway's default upstream path. */
export function requestIds(request: IncomingMessage): { accountGroupId: string; campaignId: string } {
  const match = /\/accounts\/([^/]+)\/campaigns\/([^/?]+)$/.exec(request.url ?? '');
  return { accountGroupId: match?.[1] ?? '', campaignId: match?.[2] ?? '' };
}

/** A complete campaign document of the campaign service, workflow definition included. */
export function campaignDocument(id: string, accountGroupId?: string): Record<string, unknown> {
  return {
    id,
    ...(accountGroupId !== undefined && { accountGroupId }),
    name: 'Spring outreach',
    status: 'draft',
    description: 'A campaign.',
    outreachLanguage: 'en',
    selectedLeadCount: 25,
    includeConversationHistory: true,
    autoCancelOnMessageReceived: false,
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-02T00:00:00.000Z',
    startedAt: null,
    rateLimitedUntil: null,
    workflowDefinition: { nodes: [{ id: 'n1', secret: 'workflow-secret' }] },
  };
}

export const respondWithCampaign: Responder = (request, response) =>
  respondWithName('Spring outreach')(request, response);

/** Responds with the requested campaign under this name. */
export function respondWithName(name: string): Responder {
  return (request, response) => {
    const { accountGroupId, campaignId } = requestIds(request);
    respondWithJson({ ...campaignDocument(campaignId, accountGroupId), name })(request, response);
  };
}

export function respondWithJson(document: unknown, status = 200): Responder {
  return respondWithBody(JSON.stringify(document), status);
}

export function respondWithBody(body: string | Buffer, status = 200, headers: Record<string, string> = {}): Responder {
  return (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(body);
  };
}

/** A campaign service whose responses the test scripts. It records the requests. */
export class Upstream {
  readonly requests: IncomingMessage[] = [];
  respond: Responder = respondWithCampaign;
  url = '';
  readonly #server = createServer((request, response) => {
    this.requests.push(request);
    this.respond(request, response);
  });

  static async start(): Promise<Upstream> {
    const upstream = new Upstream();
    upstream.url = await listen(upstream.#server);
    return upstream;
  }

  stop(): void {
    this.#server.close().closeAllConnections();
  }
}

/** A responder that waits until `open` is called. */
export function deferredResponse(respond: Responder = respondWithCampaign): Responder & { open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const deferred: Responder = (request, response) => void promise.then(() => respond(request, response));
  return Object.assign(deferred, { open: resolve });
}
