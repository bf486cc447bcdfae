export { onShutdownSignal } from './signals.ts';
export { superviseWorkers } from './supervise.ts';
export { joinWorkerGroup, type WorkerGroup } from './worker-group.ts';
