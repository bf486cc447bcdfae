/** Of ECMA-48: what begins a colour, by level. */
const COLOURS: Readonly<Record<string, string>> = {
  fatal: '\x1b[1;31m',
  error: '\x1b[31m',
  warn: '\x1b[33m',
  info: '\x1b[32m',
};
const DIM = '\x1b[2m';
const RESET = '\x1b[0m';

/** One of our log's JSON lines as a line for people: time of day, level, message, and the rest as `key=value`. */
export function formatPretty(line: string, coloured: boolean): string {
  const { time, level, msg, service: _, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const paint = (colour: string, text: string) => (coloured ? `${colour}${text}${RESET}` : text);
  const name = String(level);
  const fields = Object.entries(rest).map(([key, value]) => `${paint(DIM, `${key}=`)}${formatValue(value)}`);
  const parts = [paint(DIM, String(time).slice(11, 23)), paint(COLOURS[name] ?? DIM, name.toUpperCase().padEnd(5))];
  return `${[...parts, formatText(msg), ...fields].join(' ')}\n`;
}

function formatValue(value: unknown): string {
  const isPlain = typeof value === 'string' && /^[^\s"=\p{C}]+$/u.test(value);
  return isPlain ? value : formatText(JSON.stringify(value));
}

/** Nothing that a terminal could take for a command: JSON escapes some of it, but not all. */
function formatText(text: unknown): string {
  return String(text).replace(/\p{C}/gu, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
