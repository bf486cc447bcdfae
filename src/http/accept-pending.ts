import cluster from 'node:cluster';
import type { Server } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Upper bound for clients that connect as fast as they are accepted. */
const MAX_WAIT_MS = 1000;

/**
 * Closing a port resets the connections that the kernel has accepted and Node has not. So the backlog is set to 0, and
 * connections are accepted until two turns of the event loop bring none. Setting the backlog takes a second `listen` on the
 * undocumented handle; without the handle, connections that arrive during the last turn are reset. Workers have no port.
 */
export async function acceptPendingConnections(server: Server): Promise<void> {
  if (cluster.isWorker) return;
  const { _handle: handle } = server as Server & { _handle?: { listen?(backlog: number): void } | null };
  handle?.listen?.(0);
  const deadline = performance.now() + MAX_WAIT_MS;
  let quietTurns = 0;
  const onConnection = () => {
    quietTurns = 0;
  };
  server.on('connection', onConnection).on('drop', onConnection);
  // The first turn may be the rest of the current one.
  for (; quietTurns < 2 && performance.now() < deadline; quietTurns++) await nextTurn();
  server.off('connection', onConnection).off('drop', onConnection);
}
