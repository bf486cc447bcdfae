import cluster from 'node:cluster';
import type { Server } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';

/** Clients that come as fast as they are taken are not waited for. */
const MAX_WAIT_MS = 1000;

/**
 * The system accepts connections before Node takes them, one in each turn of its loop, and resets those that still wait
 * when the port closes: under load all that are under way. So it is told to accept no more (by a second `listen`, of the
 * undocumented handle), and the others are taken until a turn brings none. At most one is left. A worker has no port of its
 * own.
 */
export async function acceptPendingConnections(server: Server): Promise<void> {
  if (cluster.isWorker) return;
  const { _handle: handle } = server as Server & { _handle?: { listen(backlog: number): void } | null };
  handle?.listen(0);
  const giveUpAt = performance.now() + MAX_WAIT_MS;
  let quietTurns = 0;
  const onConnection = () => {
    quietTurns = 0;
  };
  server.on('connection', onConnection).on('drop', onConnection);
  // The first may be what is left of a turn.
  for (; quietTurns < 2 && performance.now() < giveUpAt; quietTurns++) await turn();
  server.off('connection', onConnection).off('drop', onConnection);
}
