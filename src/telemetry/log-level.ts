import type { Logger } from 'pino';
import { z } from 'zod';

/** From the least talkative. */
export const logLevels = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof logLevels)[number];

export const logLevelSchema = z.enum(logLevels);

export function levelOf(log: Logger): LogLevel {
  return logLevelSchema.parse(log.level);
}

/** Changes what this process logs, and says so in a line that is shown, at `info` where that is shown before or after. */
export function changeLevel(log: Logger, level: LogLevel): void {
  const before = levelOf(log);
  const mostTalkative = logLevels[Math.max(logLevels.indexOf(before), logLevels.indexOf(level))] ?? 'silent';
  log.level = mostTalkative;
  const shownAt = logLevels[Math.min(logLevels.indexOf(mostTalkative), logLevels.indexOf('info'))] ?? 'silent';
  log[shownAt]({ level_before: before, level_now: level }, 'the log level is changed');
  log.level = level;
}
