import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { root } from './dockerfile.ts';

const serviceSchema = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.literal('.'), dockerfile: z.literal('config/Dockerfile') }).optional(),
  command: z.array(z.string()).default([]),
  deploy: z.strictObject({ replicas: z.int() }).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  volumes: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  stop_grace_period: z.string().optional(),
  read_only: z.boolean().optional(),
  cap_drop: z.array(z.string()).optional(),
  security_opt: z.array(z.string()).optional(),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_started']) }))
    .default({}),
  healthcheck: z
    .strictObject({
      test: z.tuple([z.literal('CMD')], z.string()),
      interval: z.string(),
      timeout: z.string(),
      retries: z.int(),
    })
    .optional(),
});

export type ComposeService = z.output<typeof serviceSchema>;

/** `target` is a path in the container, `source` a path of the repository or the name of a volume. */
export interface Mount {
  readonly source: string;
  readonly target: string;
}

export async function readCompose(): Promise<Record<string, ComposeService>> {
  const file = parse(await readFile(path.join(root, 'docker-compose.yml'), 'utf8'), { merge: true });
  return z.record(z.string(), serviceSchema).parse(file.services);
}

export function parseMounts({ volumes }: ComposeService): Mount[] {
  return volumes.map((volume) => {
    const [source = '', target = ''] = volume.split(':');
    return { source, target };
  });
}
