/** Files, listeners, and connections to Redis and to collectors. */
const OTHER_FILES = 100;

/** A sentence if the process may not open a file descriptor for each of `connections`. */
export function findOpenFileShortage(connections: number): string | undefined {
  if (!process.report) return undefined;
  Object.assign(process.report, { excludeNetwork: true }); // Without DNS look-ups the report takes 3 ms.
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft: number | 'unlimited' } } };
  const limit = userLimits?.open_files?.soft;
  const needed = connections + OTHER_FILES;
  if (typeof limit !== 'number' || limit >= needed) return undefined;
  return `the limit on open files is ${limit}: raise it to ${needed} (ulimit -n) or lower MAX_CONNECTIONS`;
}
