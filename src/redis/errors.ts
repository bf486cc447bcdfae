import { TimeoutError } from './timeout.ts';

export type RedisErrorType = 'timeout' | 'refused' | 'closed';

export function classifyRedisError(error: unknown): RedisErrorType {
  if (error instanceof TimeoutError) return 'timeout';
  return wasNotExecuted(error) ? 'refused' : 'closed';
}

/** Whether Redis certainly did not execute the command: it returned an error, or every cluster node redirected it. */
export function wasNotExecuted(error: unknown): boolean {
  return isErrorReply(error) || (error instanceof Error && error.message.startsWith('Too many Cluster redirections'));
}

export function isErrorReply(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/** The key holds a value of another data type than the command expects. */
export function isWrongType(error: unknown): boolean {
  return isErrorReply(error) && error.message.startsWith('WRONGTYPE');
}
