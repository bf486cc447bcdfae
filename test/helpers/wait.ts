import { setTimeout as pause } from 'node:timers/promises';

/** Asks until the answer is truthy. It gives up after `patienceMs`, long enough for a slow machine. */
export async function until<T>(condition: () => T | Promise<T>, timeoutMs = 20_000): Promise<NonNullable<T>> {
  const giveUpAt = Date.now() + timeoutMs;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > giveUpAt) throw new Error(`waited ${timeoutMs} ms in vain for: ${condition}`);
    await pause(10);
  }
}
