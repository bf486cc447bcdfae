import cluster from 'node:cluster';

/** What the primary tells a worker its number by. */
export const NUMBER_VARIABLE = 'CAMPAIGN_GATEWAY_WORKER';

/** Of this process among those that share the port, from 1. One that takes the place of another has its number. */
export const workerNumber = cluster.isWorker ? Number(process.env[NUMBER_VARIABLE]) : 1;
