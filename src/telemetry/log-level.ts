import type { Logger } from 'pino';
import { z } from 'zod';

/** From the least to the most verbose. */
export const logLevels = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof logLevels)[number];

export const logLevelSchema = z.enum(logLevels);

export function currentLevel(log: Logger): LogLevel {
  return logLevelSchema.parse(log.level);
}

/** Changes the log level and logs the change, if the old or the new level includes `info`. */
export function changeLevel(log: Logger, level: LogLevel): void {
  const previous = currentLevel(log);
  if (logLevels.indexOf(level) > logLevels.indexOf(previous)) log.level = level;
  log.info({ previous_level: previous, new_level: level }, 'log level changed');
  log.level = level;
}
