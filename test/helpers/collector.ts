import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import root from 'otlp-decoder/build/src/generated/root.js';

// biome-ignore lint/suspicious/noExplicitAny: protobufjs generates no usable types.
type Message = any;
const { trace, metrics } = (root as Message).opentelemetry.proto.collector;

type Value = string | number | boolean | undefined | Value[];

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root span. */
  readonly parentSpanId: string;
  readonly name: string;
  /** OTLP `SpanKind`: 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly traceState: string;
  readonly attributes: Readonly<Record<string, Value>>;
  readonly events: readonly { readonly name: string; readonly attributes: Readonly<Record<string, Value>> }[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  /** OTLP status code: 2 is an error. */
  readonly status: number;
  readonly resource: Readonly<Record<string, Value>>;
  readonly startedAt: bigint;
  readonly endedAt: bigint;
}

/** An OTLP receiver (HTTP, protobuf) that records every span and metric name. */
export class Collector {
  readonly url: string;
  readonly spans: CollectedSpan[] = [];
  /** By metric name, the services that pushed it. */
  readonly metrics = new Map<string, Set<string>>();
  readonly #server;

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(port = 0): Promise<Collector> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const isGzip = request.headers['content-encoding'] === 'gzip';
        collector.#record(request.url ?? '', isGzip ? gunzipSync(bytes) : bytes);
        response.setHeader('content-type', 'application/x-protobuf').end();
      });
    }).listen(port, '127.0.0.1');
    await once(server, 'listening');
    const collector = new Collector(server);
    return collector;
  }

  findSpans(traceId: string): CollectedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #record(path: string, bytes: Buffer): void {
    if (path === '/v1/traces') {
      const { resourceSpans } = trace.v1.ExportTraceServiceRequest.decode(bytes);
      this.spans.push(...resourceSpans.flatMap(parseSpans));
    } else if (path === '/v1/metrics') {
      const { resourceMetrics } = metrics.v1.ExportMetricsServiceRequest.decode(bytes);
      for (const { resource, scopeMetrics } of resourceMetrics) {
        const service = String(parseAttributes(resource?.attributes)['service.name']);
        for (const { name } of scopeMetrics.flatMap((each: Message) => each.metrics)) {
          this.metrics.set(name, (this.metrics.get(name) ?? new Set()).add(service));
        }
      }
    }
  }
}

const hex = (bytes: Uint8Array | null) => Buffer.from(bytes ?? []).toString('hex');

function parseSpans({ resource, scopeSpans }: Message): CollectedSpan[] {
  const attributes = parseAttributes(resource?.attributes);
  return scopeSpans.flatMap(({ spans }: Message) => spans.map((span: Message) => parseSpan(span, attributes)));
}

function parseSpan(span: Message, resource: CollectedSpan['resource']): CollectedSpan {
  return {
    traceId: hex(span.traceId),
    spanId: hex(span.spanId),
    parentSpanId: hex(span.parentSpanId),
    name: span.name,
    kind: span.kind,
    traceState: span.traceState,
    attributes: parseAttributes(span.attributes),
    events: span.events.map((event: Message) => ({ name: event.name, attributes: parseAttributes(event.attributes) })),
    links: span.links.map((link: Message) => ({ traceId: hex(link.traceId), spanId: hex(link.spanId) })),
    status: span.status?.code ?? 0,
    resource,
    startedAt: BigInt(String(span.startTimeUnixNano)),
    endedAt: BigInt(String(span.endTimeUnixNano)),
  };
}

function parseAttributes(attributes: Message): Record<string, Value> {
  return Object.fromEntries((attributes ?? []).map(({ key, value }: Message) => [key, parseValue(value)]));
}

function parseValue(value: Message): Value {
  switch (value?.value) {
    case 'intValue':
      return Number(value.intValue);
    case 'arrayValue':
      return value.arrayValue.values.map(parseValue);
    default:
      return value?.[value?.value];
  }
}
