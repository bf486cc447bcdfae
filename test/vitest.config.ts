import { hash } from 'node:crypto';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files in an order that the seed decides, but for one that takes a minute: at the end everything would wait for it. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { seed } = this.ctx.config.sequence;
    const placeOf = ({ moduleId }: TestSpecification) =>
      moduleId.endsWith('/chaos.test.ts') ? '' : hash('sha1', `${seed} ${moduleId}`);
    return files.toSorted((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1));
  }
}

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    globalSetup: ['helpers/ensure-redis.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Each file has its own Redis, campaign service and gateways: two files at a time suit two cores.
    maxWorkers: 2,
    // Where the machine stalls for longer than the gateway waits for Redis (50 to 100 ms), it rightly does without.
    retry: 1,
    // Order must not matter.
    sequence: { shuffle: { files: true, tests: true }, sequencer: LongestFirst },
  },
});
