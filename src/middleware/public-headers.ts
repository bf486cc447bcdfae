import { baseHeaders } from '../http/envelope.ts';
import type { Handler } from './request-context.ts';
import type { ServerState } from './respond.ts';

/** Sets the headers of responses that Express sends itself: the API description and the reference page. */
export function setPublicHeaders(server: ServerState): Handler {
  return function setPublicHeaders(_request, response, next) {
    const headers = baseHeaders(response.locals.trace.traceId);
    for (let i = 0; i < headers.length; i += 2) response.set(headers[i] as string, headers[i + 1] as string);
    if (server.isDraining || response.locals.mustClose) response.set('Connection', 'close');
    next();
  };
}
