import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';

const TEST_FOLDER = mkdtempSync(path.join(tmpdir(), 'gateway-test-'));
process.on('exit', () => rmSync(TEST_FOLDER, { recursive: true, force: true }));

/** The folder decides: what is below `system/` belongs to `npm run test:system`, everything else to `npm test`. */
export default defineConfig({
  test: {
    root: import.meta.dirname,
    env: { TEST_FOLDER },
    // Long enough for a heavily loaded machine.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    maxWorkers: 2,
    // The files of a worker share loaded modules, which hold no state of a test: more than a third less CPU.
    isolate: false,
    sequence: { shuffle: { files: true, tests: true } },
    projects: [
      {
        extends: true,
        test: {
          name: 'main',
          include: ['**/*.test.ts'],
          exclude: ['system/**'],
          globalSetup: [`${import.meta.dirname}/helpers/ensure-redis.ts`],
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['system/**/*.test.ts'],
          globalSetup: [
            `${import.meta.dirname}/helpers/ensure-redis.ts`,
            `${import.meta.dirname}/system/ensure-programs.ts`,
          ],
        },
      },
    ],
  },
});
