import { runCli } from '../../src/cli/run.ts';
import type { Environment } from './gateway.ts';

/** Runs a command of the CLI inside the test's own process. `isTTY`: as on a terminal. */
export async function cli(args: readonly string[], env: Environment, isTTY = false) {
  const output = { stdout: '', stderr: '' };
  const collect = (stream: keyof typeof output) => ({
    isTTY,
    write: (text: string) => {
      output[stream] += text;
    },
  });
  const code = await runCli(args, { env, stdout: collect('stdout'), stderr: collect('stderr') });
  return { code, ...output };
}

/** Runs a command that must succeed, and returns its JSON. */
export async function cliJson(args: readonly string[], env: Environment) {
  const { code, stdout, stderr } = await cli([...args, '--json'], env);
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  return JSON.parse(stdout);
}
