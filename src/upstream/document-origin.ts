import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { decodeReply } from './decode.ts';
import { getErrorType, UpstreamFailure } from './failure.ts';
import type { Origin, OriginRequest, OriginResponse } from './origin.ts';
import { isCanonicalDocument, parseReply } from './parse-document.ts';
import type { Upstream } from './upstream.ts';

export interface DocumentOriginOptions {
  readonly upstream: Pick<Upstream, 'read'>;
  readonly headers: (request: OriginRequest) => Record<string, string>;
  /** Limit for the body, both encoded and decoded. */
  readonly maxBodyBytes: number;
  readonly log: Logger;
  /** Counts a read by outcome. All endpoints share one counter. */
  readonly count: (outcome: string) => void;
}

/** Returns, for a request, the origin of the endpoint's document: fetched, validated and filtered. */
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
      const response = await fetchDocument(request, signal, deadlineAt);
      count(response.result.outcome);
      return response;
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
