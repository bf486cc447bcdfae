import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { compilePathTemplate } from '../http/path-template.ts';
import { formatTraceparent } from '../telemetry/trace-context.ts';
import { version } from '../version.ts';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { decodeReply } from './decode.ts';
import type { Drift } from './drift.ts';
import { getErrorType, UpstreamFailure } from './failure.ts';
import type { Document, Origin, OriginRequest, OriginResponse } from './origin.ts';
import { isCanonicalDocument, parseReply } from './parse-document.ts';
import { conditionalHeaders, parseValidators, updateHeaders, type Validators } from './validators.ts';

export interface DocumentOriginOptions {
  readonly read: (request: UpstreamRequest) => Promise<UpstreamReply>;
  /** Of a body, decoded. */
  readonly maxBodyBytes: number;
  /** CAMPAIGN_SERVICE_TOKEN. */
  readonly token: string | undefined;
  readonly log: Logger;
  /** Counts a read by outcome. All endpoints share one counter. */
  readonly count: (outcome: string) => void;
  readonly drift: Drift;
}

/** Returns, for a request, the origin of the endpoint's document: fetched, validated and filtered. */
export function createDocumentOrigin(
  endpoint: Endpoint,
  { read, maxBodyBytes, token, log, count, drift }: DocumentOriginOptions,
): (request: OriginRequest) => Origin {
  const formatPath = compilePathTemplate(endpoint.upstreamPath);

  return (request) => ({
    async fetch(signal, deadlineAt, stored) {
      const { parameters, trace } = request;
      const headers = upstreamHeaders(request, token, stored?.validators);
      try {
        const reply = await read({ path: formatPath(parameters), headers, signal, deadlineAt });
        if (reply.outcome === 'not_modified') {
          count('not_modified');
          return revalidate(stored, reply) ?? this.fetch(signal, deadlineAt);
        }
        const decoded = await decodeReply(reply, maxBodyBytes);
        let result = parseReply(endpoint, parameters, decoded, drift);
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

/** Undefined if the 304 does not concern the stored document. */
function revalidate(stored: Document | undefined, reply: UpstreamReply): OriginResponse | undefined {
  const headers = stored?.validators && updateHeaders(stored.validators, reply.headers);
  if (!headers) return undefined;
  return { result: { ...stored, validators: parseValidators(headers) }, headers };
}

/** The complete set of upstream request headers. No header of the client is copied. */
function upstreamHeaders(
  { parameters, trace, keyId, clientAddress }: OriginRequest,
  token: string | undefined,
  validators: Validators | undefined,
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
    ...(validators && conditionalHeaders(validators)),
  };
}
