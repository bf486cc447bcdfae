import { TimeoutError } from './timeouts.ts';

/** Whether it was certainly not done: Redis said so, or each node of a cluster that was asked sent on to another. */
export function wasNotExecuted(error: unknown): boolean {
  return isErrorReply(error) || (error instanceof Error && error.message.startsWith('Too many Cluster redirections'));
}

export function classifyRedisError(error: unknown): 'timeout' | 'refused' | 'closed' {
  if (error instanceof TimeoutError) return 'timeout';
  return wasNotExecuted(error) ? 'refused' : 'closed';
}

export function isErrorReply(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/** What stands under that name is nothing that the command could be about. */
export function isWrongType(error: unknown): boolean {
  return isErrorReply(error) && error.message.startsWith('WRONGTYPE');
}
