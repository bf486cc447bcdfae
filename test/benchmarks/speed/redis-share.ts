import type { Asked, Rig } from './rig.ts';

interface Counters {
  readonly calls: number;
  readonly bytesTo: number;
  readonly bytesFrom: number;
  readonly cpuSeconds: number;
}

function parse(info: string): Counters {
  const number = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  const calls = [...info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
  return {
    calls,
    bytesTo: number('total_net_input_bytes'),
    bytesFrom: number('total_net_output_bytes'),
    cpuSeconds: number('used_cpu_user') + number('used_cpu_sys'),
  };
}

const loads: Readonly<Record<string, Asked>> = {
  'hit, one connection': { scenario: 'hit', connections: 1 },
  'hit, 64 connections': { scenario: 'hit' },
  'spread, 64 connections': { scenario: 'spread' },
  'miss, 64 connections': { scenario: 'miss' },
};

/** What a request asks of Redis: the more come at once, the fewer calls each takes. */
export async function redisShare(rig: Rig, seconds: number): Promise<string> {
  const lines = ['| | calls to Redis a request | bytes to it | from it | its CPU µs |', '|---|---|---|---|---|'];
  for (const [label, asked] of Object.entries(loads)) {
    const gateway = await rig.gateway();
    await rig.warm(gateway, asked);
    const before = parse(await rig.redisInfo());
    const { requests } = await rig.measure(gateway, { ...asked, seconds });
    const after = parse(await rig.redisInfo());
    await gateway.stop();
    const each = (of: keyof Counters) => (after[of] - before[of]) / requests;
    const cells = [each('calls').toFixed(2), each('bytesTo').toFixed(0), each('bytesFrom').toFixed(0)];
    lines.push(`| ${[label, ...cells, (each('cpuSeconds') * 1e6).toFixed(1)].join(' | ')} |`);
  }
  return lines.join('\n');
}
