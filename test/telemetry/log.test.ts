import { WriteStream } from 'node:tty';
import { expect, test } from 'vitest';
import { createLog, writeFields } from '../../src/telemetry/log.ts';
import { terminalDestination } from '../../src/telemetry/terminal-log.ts';

const fields = {
  trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
  status: 502,
  duration_ms: 1.25,
  code: undefined,
  cause: 'quotes ", a backslash \\, a newline \n, a control character \u0007, ünicode and \u2028',
};

function collect() {
  const lines: string[] = [];
  return { lines, destination: { write: (line: string) => void lines.push(line) } };
}

test('a line of writeFields has exactly the form of a line of pino, and follows changes of the level', () => {
  const { lines, destination } = collect();
  const log = createLog({ LOG_LEVEL: 'info' }, destination);
  // Two lines may be written in different milliseconds.
  const withoutTime = (line: string) => line.replace(/"time":"\d{4}-\d\d-\d\dT[\d:.]{12}Z"/, '"time":""');
  for (const level of ['info', 'warn', 'error'] as const) {
    log[level](fields, 'request completed');
    writeFields(log, level, fields, 'request completed');
    const [byPino, byUs] = lines.slice(-2).map(withoutTime);
    expect(byUs).toBe(byPino);
    expect(byUs).toMatch(/^\{"level":"\w+","time":"","service":"campaign-gateway","pid":\d+,"trace_id":/);
  }
  log.level = 'warn';
  writeFields(log, 'info', fields, 'dropped');
  expect(lines).toHaveLength(6);
});

test('an error is logged with its type, message and stack only, as its properties and causes may hold secrets', () => {
  const { lines, destination } = collect();
  const cause = new Error('hunter2');
  const err = Object.assign(new TypeError('failed', { cause }), { command: { args: ['hunter2'] } });
  createLog({ LOG_LEVEL: 'info' }, destination).error({ err }, 'uncaught exception');
  const { stack } = err;
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ err: { type: 'TypeError', message: 'failed', stack } });
  expect(lines[0]).not.toContain('hunter2');
});

test('no value in a line can control the terminal', () => {
  const { lines, destination } = collect();
  const terminal = Object.assign(Object.create(WriteStream.prototype), { ...destination, hasColors: () => false });
  const attacks = ['\u001b]0;title\u0007', '\u009b31m', 'two\nlines', '\u202eright to left', '\u007f'];
  const line = { time: '2026-01-01T00:00:00.000Z', level: 'warn', msg: 'failed', cause: attacks };
  terminalDestination(terminal).write(`${JSON.stringify(line)}\n`);
  expect(lines[0]).toMatch(/^\P{C}+\n$/u);
  expect(lines[0]).toContain('\\u001b]0;title');
});
