import type { WriteStream } from 'node:tty';
import { type DestinationStream, type Logger, pino } from 'pino';
import type { Settings } from '../settings.ts';
import { lineForPeople } from './log-for-people.ts';

/**
 * JSON lines; on a terminal, lines for people. What is logged is chosen field by field where it
 * happens; no request, header or record is logged whole.
 */
export function createLog(settings: Pick<Settings, 'LOG_LEVEL'>, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = {
    level: settings.LOG_LEVEL,
    base: { service: 'campaign-gateway', pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const output = process[stream];
  if (output.isTTY) return pino(options, terminal(output));
  return stream === 'stdout' ? pino(options) : pino(options, pino.destination({ fd: output.fd, sync: true }));
}

/** In colours where the terminal has them and `NO_COLOR` does not forbid them. */
function terminal(output: WriteStream): DestinationStream {
  const coloured = output.hasColors();
  return { write: (line) => void output.write(lineForPeople(line, coloured)) };
}
