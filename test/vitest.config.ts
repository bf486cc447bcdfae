import { defineConfig } from 'vitest/config';

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
    sequence: { shuffle: true },
  },
});
