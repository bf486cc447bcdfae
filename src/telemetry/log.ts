import type { WriteStream } from 'node:tty';
import { type DestinationStream, type Logger, pino, symbols } from 'pino';
import type { Settings } from '../settings/definitions.ts';
import { formatPretty } from './pretty-log.ts';

/**
 * JSON lines; on a terminal, lines for people. What is logged is chosen field by field where it
 * happens; no request, header or record is logged whole.
 */
export function createLog(settings: Pick<Settings, 'LOG_LEVEL'>, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = {
    level: settings.LOG_LEVEL,
    base: { service: 'campaign-gateway', pid: process.pid },
    timestamp: isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const output = process[stream];
  if (output.isTTY) return pino(options, prettyDestination(output));
  return pino(options, batchPerTurn(pino.destination({ fd: output.fd, sync: true })));
}

/** What pino keeps of a logger for those who integrate it. */
interface PinoInternals {
  readonly [symbols.lsCacheSym]: Readonly<Record<number, string>>;
  readonly [symbols.chindingsSym]: string;
  readonly [symbols.streamSym]: DestinationStream;
  [symbols.timeSym](): string;
}

/** As `log.info(fields, message)`, of plain values: pino itself puts them together one by one, which takes six times as long. */
export function writeFields(
  log: Logger,
  level: 'error' | 'warn' | 'info',
  fields: Readonly<Record<string, string | number | undefined>>,
  message: string,
): void {
  if (!log.isLevelEnabled(level)) return;
  const internals = log as unknown as PinoInternals;
  const prefix = internals[symbols.lsCacheSym][log.levels.values[level] as number];
  const line = JSON.stringify(fields).slice(1, -1);
  internals[symbols.streamSym].write(
    `${prefix}${internals[symbols.timeSym]()}${internals[symbols.chindingsSym]},${line},"msg":"${message}"}\n`,
  );
}

/** A long turn is not to fill the memory with them. */
const MAX_BUFFERED_CHARS = 64 * 1024;

/** What is logged in one turn of the event loop is written at its end, in one system call, before the next turn begins. */
function batchPerTurn(destination: DestinationStream): DestinationStream & { flushSync(): void } {
  let lines = '';
  const flushSync = () => {
    const whole = lines;
    lines = '';
    if (whole !== '') destination.write(whole);
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

let lastMs = 0;
let lastTime = '';

/** As pino's own, but made once a millisecond. */
function isoTime(): string {
  const now = Date.now();
  if (now !== lastMs) {
    lastMs = now;
    lastTime = `,"time":"${new Date(now).toISOString()}"`;
  }
  return lastTime;
}

/** In colours where the terminal has them and `NO_COLOR` does not forbid them. One that is closed ends what was started in it. */
function prettyDestination(output: WriteStream): DestinationStream {
  const coloured = output.hasColors();
  output.once('error', () => process.kill(process.pid, 'SIGTERM'));
  output.on('error', () => {}); // Of what is logged after that.
  return { write: (line) => void output.write(formatPretty(line, coloured)) };
}
