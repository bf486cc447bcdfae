/** npm, process managers and terminals can deliver one signal twice. */
const DUPLICATE_WINDOW_MS = 2000;

/**
 * Calls `drain` on the first SIGTERM or SIGINT. A second one within two seconds is a duplicate and is ignored. A later
 * one calls `abort`.
 */
export function onShutdownSignal(drain: (signal: NodeJS.Signals) => void, abort: () => void): void {
  let drainingSince: number | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (drainingSince === undefined) {
      drainingSince = performance.now();
      drain(signal);
    } else if (performance.now() - drainingSince > DUPLICATE_WINDOW_MS) abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
}
