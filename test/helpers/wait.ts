import { setTimeout as pause } from 'node:timers/promises';

/** Asks until the answer is truthy. It gives up after `patienceMs`, long enough for a slow machine. */
export async function until<T>(ask: () => T | Promise<T>, patienceMs = 20_000): Promise<NonNullable<T>> {
  const giveUpAt = Date.now() + patienceMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > giveUpAt) throw new Error(`waited ${patienceMs} ms in vain for: ${ask}`);
    await pause(10);
  }
}
