import { beforeAll, type beforeEach } from 'vitest';
import { Stack } from './stack.ts';

/** A stack that runs during the tests of this file. With `beforeEach` every test has a new one. */
export function useStack(before: typeof beforeAll | typeof beforeEach = beforeAll): Stack {
  const stack = new Stack();
  before(async () => {
    await stack.launch();
    return () => stack.stop();
  });
  return stack;
}
