import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { formatTraceparent } from '../telemetry/trace-context.ts';
import { version } from '../version.ts';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { decodeReply } from './decode.ts';
import { getErrorType, UpstreamFailure } from './failure.ts';
import type { Origin, OriginRequest } from './origin.ts';
import { isCanonicalDocument, parseReply } from './parse-document.ts';

export interface DocumentOriginOptions {
  readonly read: (request: UpstreamRequest) => Promise<UpstreamReply>;
  /** Of a body, decoded. */
  readonly maxBodyBytes: number;
  /** CAMPAIGN_SERVICE_TOKEN. */
  readonly token: string | undefined;
  readonly log: Logger;
  /** Counts a read by outcome. All endpoints share one counter. */
  readonly count: (outcome: string) => void;
}

/** Returns, for a request, the origin of the endpoint's document: fetched, validated and filtered. */
export function createDocumentOrigin(
  endpoint: Endpoint,
  { read, maxBodyBytes, token, log, count }: DocumentOriginOptions,
): (request: OriginRequest) => Origin {
  const formatPath = compilePathTemplate(endpoint.upstreamPath);

  return (request) => ({
    async fetch(signal, deadlineAt) {
      const { parameters, trace } = request;
      const headers = upstreamHeaders(request, token);
      try {
        const encoded = await read({ path: formatPath(parameters), headers, signal, deadlineAt });
        const reply = await decodeReply(encoded, maxBodyBytes);
        let result = parseReply(endpoint, parameters, reply);
        if (result.outcome === 'foreign_account_group') {
          const fields = { security: true, trace_id: trace.traceId, ...parameters };
          log.warn(fields, 'the campaign service returned a document of another account group');
          result = { outcome: 'not_found' };
        }
        count(result.outcome);
        return { result, headers: reply.headers };
      } catch (error) {
        if (error instanceof UpstreamFailure) count(getErrorType(error));
        throw error;
      }
    },
    isValidDocument: (text) => isCanonicalDocument(endpoint, request.parameters, text),
  });
}

/** The complete set of upstream request headers. No header of the client is copied. */
function upstreamHeaders(
  { parameters, trace, keyId, clientAddress }: OriginRequest,
  token: string | undefined,
): Record<string, string> {
  return {
    accept: 'application/json',
    'accept-encoding': 'identity',
    'user-agent': `campaign-gateway/${version}`,
    via: '1.1 campaign-gateway', // RFC 9110, section 7.6.3
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    traceparent: formatTraceparent(trace),
    ...(trace.tracestate !== undefined && { tracestate: trace.tracestate }),
    'x-account-group-id': parameters['accountGroupId'] ?? '',
    'x-api-key-id': keyId,
    'x-forwarded-for': clientAddress,
  };
}
