import type { LoadOptions, Rig } from './rig.ts';

interface Counters {
  readonly calls: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly cpuSeconds: number;
}

function parse(info: string): Counters {
  const number = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  const calls = [...info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
  return {
    calls,
    bytesIn: number('total_net_input_bytes'),
    bytesOut: number('total_net_output_bytes'),
    cpuSeconds: number('used_cpu_user') + number('used_cpu_sys'),
  };
}

const loads: Readonly<Record<string, LoadOptions>> = {
  'hit, one connection': { scenario: 'hit', connections: 1 },
  'hit, 64 connections': { scenario: 'hit' },
  'spread, 64 connections': { scenario: 'spread' },
  'miss, 64 connections': { scenario: 'miss' },
};

/** Redis usage per request. Concurrent requests share calls, so more connections mean fewer calls each. */
export async function measureRedisUsage(rig: Rig, seconds: number): Promise<string> {
  const lines = ['| per request | Redis calls | bytes in | bytes out | Redis CPU µs |', '|---|---|---|---|---|'];
  for (const [label, options] of Object.entries(loads)) {
    const gateway = await rig.gateway();
    await rig.warmUp(gateway, options);
    const before = parse(await rig.redisInfo());
    const { requests } = await rig.measure(gateway, { ...options, seconds });
    const after = parse(await rig.redisInfo());
    await gateway.stop();
    const perRequest = (counter: keyof Counters) => (after[counter] - before[counter]) / requests;
    const cells = [perRequest('calls').toFixed(2), perRequest('bytesIn').toFixed(0), perRequest('bytesOut').toFixed(0)];
    lines.push(`| ${[label, ...cells, (perRequest('cpuSeconds') * 1e6).toFixed(1)].join(' | ')} |`);
  }
  return lines.join('\n');
}
