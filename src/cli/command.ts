/** Exit codes by sysexits.h. */
export const exitCodes = {
  /** EX_USAGE: the command was used wrongly. */
  usage: 64,
  /** EX_NOINPUT: there is no such key. */
  no_such_key: 66,
  /** EX_UNAVAILABLE: the store cannot be reached. */
  store_unavailable: 69,
  /** EX_CONFIG: the settings are wrong. */
  settings: 78,
} as const;

/** A command that ends with one sentence on standard error. */
export class CommandError extends Error {
  readonly kind: keyof typeof exitCodes;

  constructor(kind: keyof typeof exitCodes, sentence: string) {
    super(sentence);
    this.kind = kind;
  }
}

export function printJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Columns as wide as their widest cell, two spaces apart. */
export function printTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}
