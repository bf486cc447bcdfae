import { type DestinationStream, type Logger, pino } from 'pino';
import { LogDestination, reopenPipe } from './log-destination.ts';
import type { LogLevel } from './log-level.ts';
import { terminalDestination } from './terminal-log.ts';

export interface LogSettings {
  readonly LOG_LEVEL: LogLevel;
}

type Level = 'error' | 'warn' | 'info';
type Fields = Readonly<Record<string, string | number | undefined>>;

const base = { service: 'campaign-gateway', pid: process.pid };
const baseJson = JSON.stringify(base).slice(1, -1);

/** The destinations of the logs that `createLog` made. */
const destinations = new WeakMap<Logger, DestinationStream>();

/** JSON lines, in readable form on a terminal. Callers choose each field: no request, header or record is logged whole. */
export function createLog(settings: LogSettings, output?: DestinationStream): Logger {
  const destination =
    output ?? openStdout((fields) => log.warn(fields, 'log lines dropped: the output did not accept them'));
  const log = pino(
    {
      level: settings.LOG_LEVEL,
      base,
      timestamp: () => `,"time":"${isoTime()}"`,
      formatters: { level: (label: string) => ({ level: label }) },
      serializers: { err: describeError },
    },
    destination,
  );
  destinations.set(log, destination);
  return log;
}

/** Without further properties and causes, which pino would add: they may hold arguments of a command, passwords included. */
function describeError(error: unknown) {
  return error instanceof Error ? { type: error.name, message: error.message, stack: error.stack } : String(error);
}

/**
 * Logs plain values, as `log.info(fields, message)` does.
 * perf: one JSON.stringify takes half of pino's time, −1.5 µs of a cached read.
 */
export function writeFields(log: Logger, level: Level, fields: Fields, message: string): void {
  if (!log.isLevelEnabled(level)) return;
  const destination = destinations.get(log);
  if (!destination) log[level](fields, message);
  else {
    const fieldsJson = JSON.stringify(fields).slice(1, -1);
    destination.write(`{"level":"${level}","time":"${isoTime()}",${baseJson},${fieldsJson},"msg":"${message}"}\n`);
  }
}

function openStdout(warnDropped: (fields: Fields) => void): DestinationStream {
  const { stdout, stderr } = process; // This access makes a socket non-blocking.
  if (stdout.isTTY) return terminalDestination(stdout);
  // Node.js writes its own warnings to stderr: a full disk must not end the process.
  stderr.on('error', () => {});
  const destination = new LogDestination(reopenPipe(stdout.fd), {
    onRecovered: (dropped, cause) => warnDropped({ dropped, cause }),
  });
  process.on('exit', () => destination.flushBeforeExit());
  return destination;
}

let second = 0;
let secondPrefix = '';

/** `Date.toISOString` of now. All but the milliseconds is formatted once per second. */
function isoTime(): string {
  const now = Date.now();
  const milliseconds = now % 1000;
  if (now - milliseconds !== second) {
    second = now - milliseconds;
    secondPrefix = new Date(second).toISOString().slice(0, -4);
  }
  return `${secondPrefix}${String(milliseconds).padStart(3, '0')}Z`;
}
