import { type DestinationStream, type Logger, pino } from 'pino';
import type { Settings } from '../settings.ts';
import { lineForPeople } from './log-for-people.ts';

/**
 * JSON lines; on a standard output that is a terminal, lines for people. What is logged is chosen field by field where it
 * happens; no request, header or record is logged whole.
 */
export function createLog(settings: Pick<Settings, 'LOG_LEVEL'>, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = {
    level: settings.LOG_LEVEL,
    base: { service: 'campaign-gateway', pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (stream === 'stderr') return pino(options, pino.destination({ fd: 2, sync: true }));
  return process.stdout.isTTY ? pino(options, terminal()) : pino(options);
}

/** In colours where the terminal has them and `NO_COLOR` does not forbid them. */
function terminal(): DestinationStream {
  const coloured = process.stdout.hasColors();
  return { write: (line) => void process.stdout.write(lineForPeople(line, coloured)) };
}
