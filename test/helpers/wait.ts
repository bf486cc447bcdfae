import { setTimeout as pause } from 'node:timers/promises';

/** Polls until the condition is truthy and returns its value. The default timeout suits a heavily loaded machine. */
export async function until<T>(condition: () => T | Promise<T>, timeoutMs = 50_000): Promise<NonNullable<T>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not true within ${timeoutMs} ms: ${condition}`);
    await pause(10);
  }
}
