import { type Logger, pino } from 'pino';
import type { Settings } from '../settings.ts';

/** JSON lines. What is logged is chosen field by field where it happens; no request, header or record is logged whole. */
export function createLog(settings: Pick<Settings, 'LOG_LEVEL'>, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const options = {
    level: settings.LOG_LEVEL,
    base: { service: 'campaign-gateway', pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return stream === 'stdout' ? pino(options) : pino(options, pino.destination({ fd: 2, sync: true }));
}
