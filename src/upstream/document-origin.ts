import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import type { Exchange } from '../middleware/request-context.ts';
import { decodeReply } from './decode.ts';
import { getErrorType, UpstreamFailure } from './failure.ts';
import type { Origin, OriginResponse } from './origin.ts';
import { isCanonicalDocument, parseReply } from './parse-document.ts';
import type { Upstream } from './upstream.ts';

export interface DocumentOriginOptions {
  readonly upstream: Upstream;
  readonly headers: (exchange: Exchange) => Record<string, string>;
  /** Of a body, also when it has been decoded. */
  readonly maxBodyBytes: number;
  readonly log: Logger;
  /** Counts a read by what came of it. One for all endpoints: see `countBy`. */
  readonly count: (outcome: string) => void;
}

/** What an exchange asks for, at the campaign service: filtered, and checked to be what was asked for. */
export function createDocumentOrigin(
  endpoint: Endpoint,
  { upstream, headers, maxBodyBytes, log, count }: DocumentOriginOptions,
): (exchange: Exchange) => Origin {
  const formatPath = compilePathTemplate(endpoint.upstreamPath);

  async function fetchDocument(exchange: Exchange, signal: AbortSignal, deadlineAt: number): Promise<OriginResponse> {
    const { parameters, trace } = exchange;
    const reply = await upstream.read({ path: formatPath(parameters), headers: headers(exchange), signal, deadlineAt });
    const parsed = parseReply(endpoint, parameters, await decodeReply(reply, maxBodyBytes));
    if (parsed.outcome !== 'foreign_account_group') return { result: parsed, headers: reply.headers };
    log.warn(
      { security: true, trace_id: trace.traceId, ...parameters },
      'the campaign service returned a document of another account group',
    );
    return { result: { outcome: 'not_found' }, headers: reply.headers };
  }

  async function fetchAndCount(exchange: Exchange, signal: AbortSignal, deadlineAt: number): Promise<OriginResponse> {
    try {
      const fetched = await fetchDocument(exchange, signal, deadlineAt);
      count(fetched.result.outcome);
      return fetched;
    } catch (error) {
      if (error instanceof UpstreamFailure) count(getErrorType(error));
      throw error;
    }
  }

  return (exchange) => ({
    fetch: (signal, deadlineAt) => fetchAndCount(exchange, signal, deadlineAt),
    isValidDocument: (text) => isCanonicalDocument(endpoint, exchange.parameters, text),
  });
}
