import { hash } from 'node:crypto';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Shuffles the files by the seed, except that the longest one, chaos.test.ts, starts first. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { seed } = this.ctx.config.sequence;
    const sortKey = ({ moduleId }: TestSpecification) =>
      moduleId.endsWith('/chaos.test.ts') ? '' : hash('sha1', `${seed} ${moduleId}`);
    return files.toSorted((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  }
}

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    globalSetup: ['helpers/ensure-redis.ts'],
    // Long enough for a heavily loaded machine.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Each file starts its own Redis, campaign service and gateways, so two files fill two cores.
    maxWorkers: 2,
    sequence: { shuffle: { files: true, tests: true }, sequencer: LongestFirst },
  },
});
