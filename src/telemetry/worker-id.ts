import cluster from 'node:cluster';

/** Environment variable in which the primary passes a worker its id. */
export const WORKER_ID_VARIABLE = 'CAMPAIGN_GATEWAY_WORKER';

/** The id of this process among those that share the port, from 1. A replacement worker takes over the id. */
export const workerId = cluster.isWorker ? Number(process.env[WORKER_ID_VARIABLE]) : 1;
