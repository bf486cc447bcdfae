import { DiagLogLevel, diag } from '@opentelemetry/api';
import type { Logger } from 'pino';

/** Sends OpenTelemetry's own warnings and errors to the log. */
export function logDiagnostics(log: Logger): void {
  const logAt =
    (level: 'warn' | 'error') =>
    (...parts: unknown[]) =>
      log[level]({ cause: parts.map(String).join(' ') }, 'OpenTelemetry reported a problem');
  const ignore = () => {};
  diag.setLogger(
    { error: logAt('error'), warn: logAt('warn'), info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}

interface Exporter<Batch> {
  export(batch: Batch, done: (result: { code: number; error?: Error }) => void): void;
}

/** Logs when an exporter begins to fail and when it recovers, not for each lost batch. */
export function logExporterHealth<Batch, E extends Exporter<Batch>>(exporter: E, dependency: string, log: Logger): E {
  let isDown = false;
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, ({ code, error }) => {
      const failed = code !== 0;
      if (failed && !isDown) log.warn({ dependency, state: 'down', cause: error?.message }, 'telemetry export failed');
      if (!failed && isDown) log.info({ dependency, state: 'up' }, 'telemetry export recovered');
      isDown = failed;
      done({ code: 0 }); // The SDK would only report the failure once more, for each batch.
    });
  return exporter;
}
