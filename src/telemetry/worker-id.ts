import cluster from 'node:cluster';

/** What the primary tells a worker its number by. */
export const WORKER_ID_VARIABLE = 'CAMPAIGN_GATEWAY_WORKER';

/** Of this process among those that share the port, from 1. One that takes the place of another has its number. */
export const workerId = cluster.isWorker ? Number(process.env[WORKER_ID_VARIABLE]) : 1;
