import type { Command } from './command.ts';

export type Commands = ReadonlyMap<string, Command>;

/** The command that runs this program, so that examples can be pasted. */
export function getProgramName(env: Readonly<Record<string, string | undefined>>): string {
  return env['npm_lifecycle_event'] === 'cli' ? 'npm run -s cli --' : 'campaign-gateway';
}

const operandHelp: Readonly<Record<string, string>> = {
  ID: 'Id of the key, as keys list prints it.',
  FILE: 'File that keys export wrote.',
};

/** The help of one command: every operand and option, and an example. */
export function formatCommandHelp(program: string, name: string, { usage, summary, help, example }: Command): string {
  const operand = /^(ID|FILE)\b/.exec(usage)?.[0] ?? '';
  const options = Object.entries(help).map(([option, [value, description]]) => [`--${option} ${value}`, description]);
  const rows = [
    ...(operandHelp[operand] ? [[operand, operandHelp[operand]]] : []),
    ...options,
    ['--json', 'Print one JSON value to standard output and nothing else.'],
  ];
  return `Usage: ${`${program} ${name} ${usage}`.trimEnd()}

${summary}

${alignColumns(rows)}

Example:
  ${`${program} ${name} ${example}`.trimEnd()}
`;
}

/** The help of all given commands. */
export function formatHelp(program: string, commands: Commands): string {
  return `Usage: ${program} COMMAND [OPTIONS]

${alignColumns([...commands].map(([name, { summary }]) => [name, summary]))}

${program} COMMAND --help explains every option of a command. Every command accepts --json.
${program} --version prints the version.

Settings are read from the environment, as the gateway does: see config/gateway.env. Exit codes: 64 wrong usage, 66 no such
key, 69 store unavailable, 74 output cannot be written, 78 invalid settings.
`;
}

function alignColumns(rows: readonly (readonly string[])[]): string {
  const width = rows.reduce((max, [first = '']) => Math.max(max, first.trimEnd().length), 0);
  return rows.map(([first = '', second]) => `  ${first.trimEnd().padEnd(width)}  ${second}`).join('\n');
}
