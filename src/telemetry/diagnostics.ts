import { type DiagLogger, DiagLogLevel, diag } from '@opentelemetry/api';
import type { Logger } from 'pino';

const REPEAT_AFTER_MS = 60_000;
const MAX_MESSAGES = 100;

/** Sends OpenTelemetry's own warnings and errors to the log: the same message, apart from its numbers, once a minute. */
export function logDiagnostics(log: Logger, now: () => number = Date.now): void {
  const loggedAt = new Map<string, number>();
  const isRepeated = (message: string) => {
    const key = message.replace(/\d+/g, '0');
    if (now() - (loggedAt.get(key) ?? Number.NEGATIVE_INFINITY) < REPEAT_AFTER_MS) return true;
    if (loggedAt.size >= MAX_MESSAGES) loggedAt.clear();
    loggedAt.set(key, now());
    return false;
  };
  const logAt =
    (level: 'warn' | 'error') =>
    (...parts: unknown[]) => {
      const cause = parts.map(String).join(' ');
      if (!isRepeated(cause)) log[level]({ cause }, 'OpenTelemetry reported a problem');
    };
  const ignore = () => {};
  const logger: DiagLogger = {
    error: logAt('error'),
    warn: logAt('warn'),
    info: ignore,
    debug: ignore,
    verbose: ignore,
  };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
}
