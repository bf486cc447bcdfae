import { pino } from 'pino';

/** For stores opened by a command: it reports a failure itself. */
export const silentLog = pino({ level: 'silent' });
