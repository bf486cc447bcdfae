import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { decodeReply } from './decode.ts';
import { getErrorType, UpstreamFailure } from './failure.ts';
import type { Origin, OriginRequest, OriginResponse } from './origin.ts';
import { isCanonicalDocument, parseReply } from './parse-document.ts';
import type { Upstream } from './upstream.ts';

export interface DocumentOriginOptions {
  readonly upstream: Upstream;
  readonly headers: (request: OriginRequest) => Record<string, string>;
  /** Of a body, also when it has been decoded. */
  readonly maxBodyBytes: number;
  readonly log: Logger;
  /** Counts a read by what came of it. One for all endpoints: see `countBy`. */
  readonly count: (outcome: string) => void;
}

/** What an request asks for, at the campaign service: filtered, and checked to be what was asked for. */
export function createDocumentOrigin(
  endpoint: Endpoint,
  { upstream, headers, maxBodyBytes, log, count }: DocumentOriginOptions,
): (request: OriginRequest) => Origin {
  const formatPath = compilePathTemplate(endpoint.upstreamPath);

  async function fetchDocument(
    request: OriginRequest,
    signal: AbortSignal,
    deadlineAt: number,
  ): Promise<OriginResponse> {
    const { parameters, trace } = request;
    const reply = await upstream.read({ path: formatPath(parameters), headers: headers(request), signal, deadlineAt });
    const parsed = parseReply(endpoint, parameters, await decodeReply(reply, maxBodyBytes));
    if (parsed.outcome !== 'foreign_account_group') return { result: parsed, headers: reply.headers };
    log.warn(
      { security: true, trace_id: trace.traceId, ...parameters },
      'the campaign service returned a document of another account group',
    );
    return { result: { outcome: 'not_found' }, headers: reply.headers };
  }

  async function fetchAndCount(
    request: OriginRequest,
    signal: AbortSignal,
    deadlineAt: number,
  ): Promise<OriginResponse> {
    try {
      const fetched = await fetchDocument(request, signal, deadlineAt);
      count(fetched.result.outcome);
      return fetched;
    } catch (error) {
      if (error instanceof UpstreamFailure) count(getErrorType(error));
      throw error;
    }
  }

  return (request) => ({
    fetch: (signal, deadlineAt) => fetchAndCount(request, signal, deadlineAt),
    isValidDocument: (text) => isCanonicalDocument(endpoint, request.parameters, text),
  });
}
