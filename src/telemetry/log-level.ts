import type { Logger } from 'pino';
import { z } from 'zod';

/** From the least talkative. */
export const logLevels = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof logLevels)[number];

export const logLevelSchema = z.enum(logLevels);

export function currentLevel(log: Logger): LogLevel {
  return logLevelSchema.parse(log.level);
}

/** Changes what this process logs, and says so in a line that is shown, at `info` where that is shown before or after. */
export function changeLevel(log: Logger, level: LogLevel): void {
  const previous = currentLevel(log);
  const mostVerbose = logLevels[Math.max(logLevels.indexOf(previous), logLevels.indexOf(level))] ?? 'silent';
  log.level = mostVerbose;
  const loggedAt = logLevels[Math.min(logLevels.indexOf(mostVerbose), logLevels.indexOf('info'))] ?? 'silent';
  log[loggedAt]({ previous_level: previous, new_level: level }, 'log level changed');
  log.level = level;
}
