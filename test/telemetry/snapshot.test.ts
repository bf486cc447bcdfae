import { DataPointType, type SumMetricData } from '@opentelemetry/sdk-metrics';
import { expect, test } from 'vitest';
import { FieldNameLimit, MAX_FIELD_NAMES, mergeSnapshots } from '../../src/telemetry/snapshot.ts';

const countedOnce = (fields: readonly string[]) =>
  ({
    descriptor: { name: 'fields' },
    dataPointType: DataPointType.SUM,
    dataPoints: fields.map((field) => ({ attributes: { field }, value: 1 })),
  }) as unknown as SumMetricData;

const namesOf = (worker: string) => Array.from({ length: MAX_FIELD_NAMES }, (_, i) => `${worker}${i}`);

test('workers together present at most 100 field names, and the names presented once stay', () => {
  const limit = new FieldNameLimit();
  const collect = (...workers: string[][]) => {
    const [metric] = limit.apply(mergeSnapshots(workers.map((names) => [countedOnce(names)])));
    return new Map((metric as SumMetricData).dataPoints.map(({ attributes, value }) => [attributes['field'], value]));
  };
  collect(['b0', 'b1']);
  const counts = collect(namesOf('a'), namesOf('b'));
  expect(counts.size).toBe(MAX_FIELD_NAMES + 1);
  expect([counts.get('b0'), counts.get('b1'), counts.get('other')]).toEqual([1, 1, MAX_FIELD_NAMES]);
});
