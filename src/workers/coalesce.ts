/**
 * Has a task run when `before` is over, never twice at once. Who asks while it runs has it run once more; who asks while
 * that is waited for has asked for the same, and gets false.
 */
export function serializeAndCoalesce(before: Promise<void>, task: () => Promise<void>): () => boolean {
  let last = before;
  let isWaiting = false;
  return () => {
    if (isWaiting) return false;
    isWaiting = true;
    last = last.then(() => {
      isWaiting = false;
      return task();
    });
    return true;
  };
}
