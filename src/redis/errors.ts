import { TimeoutError } from './timeout.ts';

export type RedisErrorType = 'timeout' | 'refused' | 'closed';

/** `refused`: Redis certainly did not execute the command. It returned an error, or every cluster node redirected it. */
export function classifyRedisError(error: Error): RedisErrorType {
  if (error instanceof TimeoutError) return 'timeout';
  return isErrorReply(error) || error.message.startsWith('Too many Cluster redirections') ? 'refused' : 'closed';
}

export function isErrorReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

/** The key holds a value of another data type than the command expects. */
export function isWrongType(error: unknown): boolean {
  return isErrorReply(error) && (error as Error).message.startsWith('WRONGTYPE');
}
