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
    timestamp: isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const output = process[stream];
  if (output.isTTY) return pino(options, terminal(output));
  return pino(options, inTurns(pino.destination({ fd: output.fd, sync: true })));
}

/** What is logged in one turn of the event loop is written at its end, in one system call, before the next turn begins. */
function inTurns(destination: DestinationStream): DestinationStream & { flushSync(): void } {
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

/** In colours where the terminal has them and `NO_COLOR` does not forbid them. */
function terminal(output: WriteStream): DestinationStream {
  const coloured = output.hasColors();
  return { write: (line) => void output.write(lineForPeople(line, coloured)) };
}
