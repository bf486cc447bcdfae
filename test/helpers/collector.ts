import { once } from 'node:events';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import root from 'otlp-decoder/build/src/generated/root.js';
import { listen } from './listen.ts';

// biome-ignore lint/suspicious/noExplicitAny: protobufjs generates no usable types.
type Message = any;
const { trace, metrics } = (root as Message).opentelemetry.proto.collector;

type Attributes = Readonly<Record<string, unknown>>;

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root span. */
  readonly parentSpanId: string;
  readonly name: string;
  /** OTLP `SpanKind`: 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly traceState: string;
  readonly attributes: Attributes;
  /** The attributes of each event, by its name. */
  readonly events: Readonly<Record<string, Attributes>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  /** OTLP status code: 2 is an error. */
  readonly status: number;
  readonly resource: Attributes;
}

/** An OTLP receiver (HTTP, protobuf) that records every span and, by metric name, the services that pushed it. */
export async function startCollector(port = 0) {
  const spans: CollectedSpan[] = [];
  const servicesByMetric = new Map<string, Set<string>>();

  const recordSpans = (bytes: Buffer) => {
    for (const { resource, scopeSpans } of decode(trace.v1.ExportTraceServiceRequest, bytes).resourceSpans) {
      const all = scopeSpans.flatMap((scope: Message) => scope.spans);
      spans.push(...all.map((span: Message) => parseSpan(span, parseAttributes(resource))));
    }
  };
  const recordMetrics = (bytes: Buffer) => {
    for (const { resource, scopeMetrics } of decode(metrics.v1.ExportMetricsServiceRequest, bytes).resourceMetrics) {
      const service = String(parseAttributes(resource)['service.name']);
      for (const { name } of scopeMetrics.flatMap((scope: Message) => scope.metrics)) {
        servicesByMetric.set(name, (servicesByMetric.get(name) ?? new Set()).add(service));
      }
    }
  };

  const server = createServer(async (request, response) => {
    const bytes = await buffer(request);
    const isGzip = request.headers['content-encoding'] === 'gzip';
    const record = request.url === '/v1/traces' ? recordSpans : recordMetrics;
    record(isGzip ? gunzipSync(bytes) : bytes);
    response.setHeader('content-type', 'application/x-protobuf').end();
  });
  return {
    url: await listen(server, port),
    spans,
    servicesByMetric,
    findSpans: (wanted: string) => spans.filter(({ traceId }) => traceId === wanted),
    stop: async () => {
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
}

const decode = (type: Message, bytes: Buffer) => type.toObject(type.decode(bytes), { longs: Number, defaults: true });

function parseSpan(span: Message, resource: Attributes): CollectedSpan {
  const { name, kind, traceState, events, links, status } = span;
  return {
    ...parseIds(span),
    parentSpanId: span.parentSpanId.toString('hex'),
    name,
    kind,
    traceState,
    attributes: parseAttributes(span),
    events: Object.fromEntries(events.map((event: Message) => [event.name, parseAttributes(event)])),
    links: links.map(parseIds),
    status: status?.code ?? 0,
    resource,
  };
}

const parseIds = ({ traceId, spanId }: Message) => ({
  traceId: traceId.toString('hex'),
  spanId: spanId.toString('hex'),
});

const parseAttributes = ({ attributes }: Message): Attributes =>
  Object.fromEntries(attributes.map(({ key, value }: Message) => [key, parseValue(value)]));

function parseValue({ arrayValue, ...scalar }: Message): unknown {
  return arrayValue ? arrayValue.values.map(parseValue) : Object.values(scalar)[0];
}
