import { parseArgs } from 'node:util';
import { z } from 'zod';
import { CommandError } from './command-error.ts';
import { findSimilar } from './similar.ts';

export interface TextOutput {
  /** Whether it is a terminal. */
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** What a command needs of its process. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
}

/** Printed as text, or with --json as one JSON value. */
export interface CommandOutput {
  readonly json: unknown;
  readonly text: string;
}

interface CommandInput<Options> extends Omit<CliIo, 'stdout'> {
  readonly options: Options;
  /** Empty unless the command takes an operand. */
  readonly operand: string;
}

/** The name of an option's value, empty for a flag, and one sentence. */
export type OptionHelp = readonly [value: string, description: string];

interface CommandDefinition<Shape extends z.ZodRawShape> {
  /** Operands and options, for the help. A command whose usage starts with `ID` takes the id of a key, with `FILE` a path. */
  readonly usage: string;
  readonly summary: string;
  /** Explains every option. */
  readonly help: { readonly [Name in keyof Shape]: OptionHelp };
  /** What follows the name of the command in the example. */
  readonly example: string;
  /** By name. An option that accepts `true` is a flag; the others get an array of all their values. */
  readonly options: Shape;
  run(input: CommandInput<z.output<z.ZodObject<Shape>>>): CommandOutput | Promise<CommandOutput>;
}

export interface Command extends Pick<CommandDefinition<z.ZodRawShape>, 'usage' | 'summary' | 'example'> {
  readonly help: Readonly<Record<string, OptionHelp>>;
  /** Returns the output. Throws `CommandError` on wrong usage before it opens a store. */
  run(args: readonly string[], io: CliIo): Promise<string>;
}

export function defineCommand<Shape extends z.ZodRawShape>(definition: CommandDefinition<Shape>): Command {
  const { usage, summary, help, example, options, run } = definition;
  return {
    usage,
    summary,
    help,
    example,
    run: async (args, { env, stderr }) => {
      const { json, values, operand } = parseWords(args, options, /^(ID|FILE)\b/.exec(usage)?.[0]);
      const output = await run({ options: validate(z.object(options), values), operand, env, stderr });
      return json ? formatJson(output.json) : output.text;
    },
  };
}

/** The schema of an option that is given once. */
export function once<Schema extends z.ZodType<unknown, string>>(schema: Schema) {
  const single = z.array(z.string(), 'is required').length(1, 'must be given only once');
  return single.transform(([text = '']) => text).pipe(schema);
}

export function formatJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Aligns the columns of the first row. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((max, row) => Math.max(max, row[column]?.length ?? 0), 0),
  );
  const line = (row: readonly string[]) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}

function parseWords(args: readonly string[], shape: z.ZodRawShape, operandName: string | undefined) {
  const types = Object.entries(shape).map(([name, schema]) => {
    const isFlag = z.safeParse(schema, true).success;
    return [name, isFlag ? { type: 'boolean' as const } : { type: 'string' as const, multiple: true }];
  });
  const options = { json: { type: 'boolean' as const }, ...Object.fromEntries(types) };
  const parsed = parseOrReject(Object.keys(options), () =>
    parseArgs({ args: [...args], options, allowPositionals: operandName !== undefined }),
  );
  const { json, ...values }: Readonly<Record<string, unknown>> = parsed.values;
  const [operand = '', ...others] = parsed.positionals;
  if (operandName && (operand === '' || others.length > 0)) throw new CommandError('usage', `Give one ${operandName}.`);
  return { json: json === true, values, operand };
}

/** Rephrases an error of `parseArgs`, whose first sentence names the argument. */
function parseOrReject<T>(optionNames: readonly string[], parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const problem = (error as Error).message.split(/\.\s|\.?\n/)[0]?.replace(/\.$/, '') ?? '';
    const unknownOption = /^Unknown option '--(.*)'$/.exec(problem)?.[1];
    const similar = unknownOption === undefined ? undefined : findSimilar(unknownOption, optionNames);
    throw new CommandError('usage', similar === undefined ? `${problem}.` : `${problem}: did you mean --${similar}?`);
  }
}

function validate<Schema extends z.ZodType>(schema: Schema, values: unknown): z.output<Schema> {
  const { data, error } = schema.safeParse(values);
  if (!error) return data;
  const problems = error.issues.map(({ path, message }) => `--${String(path[0])} ${message}`);
  throw new CommandError('usage', `${[...new Set(problems)].join('; ')}.`);
}
