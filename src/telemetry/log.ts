import { type Logger, pino } from 'pino';
import type { Settings } from '../settings.ts';

/** JSON lines on standard output. What is logged is chosen field by field where it happens; no request, header or record is logged whole. */
export function createLog(settings: Pick<Settings, 'LOG_LEVEL'>): Logger {
  return pino({
    level: settings.LOG_LEVEL,
    base: { service: 'campaign-gateway', pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}
