import { type DestinationStream, type Logger, pino } from 'pino';
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
export function createLog(settings: LogSettings, output: 'stdout' | 'stderr' | DestinationStream = 'stdout'): Logger {
  const destination = typeof output === 'string' ? openDestination(output) : output;
  const log = pino(
    {
      level: settings.LOG_LEVEL,
      base,
      timestamp: () => `,"time":"${isoTime()}"`,
      formatters: { level: (label: string) => ({ level: label }) },
    },
    destination,
  );
  destinations.set(log, destination);
  return log;
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

function openDestination(name: 'stdout' | 'stderr'): DestinationStream {
  const stream = process[name];
  if (stream.isTTY) return terminalDestination(stream);
  return batchPerTurn(pino.destination({ fd: stream.fd, sync: true }));
}

/** Bounds the memory of one long turn. */
const MAX_BUFFERED_CHARS = 64 * 1024;

/** Writes the lines of one turn of the event loop with one system call, before the next turn begins. */
function batchPerTurn(destination: DestinationStream): DestinationStream & { flushSync(): void } {
  let lines = '';
  const flushSync = () => {
    const batch = lines;
    lines = '';
    if (batch !== '') destination.write(batch);
  };
  process.on('exit', flushSync);
  return {
    write(line) {
      if (lines === '') setImmediate(flushSync);
      lines += line;
      if (lines.length >= MAX_BUFFERED_CHARS) flushSync();
    },
    flushSync,
  };
}

let cachedMs = 0;
let cachedTime = '';

/** Formatted at most once per millisecond. */
function isoTime(): string {
  const now = Date.now();
  if (now !== cachedMs) {
    cachedMs = now;
    cachedTime = new Date(now).toISOString();
  }
  return cachedTime;
}
