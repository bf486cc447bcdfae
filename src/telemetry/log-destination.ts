import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** About a second of request lines at full load. Further lines are dropped. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;
/** A turn of the event loop that logs more than this writes before it ends, to bound memory. */
const MAX_TURN_CHARS = 64 * 1024;
const MIN_RETRY_MS = 5;
const MAX_RETRY_MS = 500;
/** How long an exiting process waits for a slow reader. */
const EXIT_FLUSH_MS = 1000;

/**
 * Opens the pipe behind a file descriptor once more, non-blocking. The original is shared with other processes, each of
 * which can make it blocking for all: libuv does so at every fork. Returns the original where that is not possible.
 */
export function reopenPipe(fd: number): number {
  if (!fstatSync(fd).isFIFO()) return fd;
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return fd;
  }
}

const EMPTY = Buffer.alloc(0);

/** The lines that all destinations of this process have dropped. */
let droppedLines = 0;
export const countDroppedLines = (): number => droppedLines;

export interface LogDestinationOptions {
  /** Called when the output works again after lines were dropped, with their number and the last error code. */
  readonly onRecovered: (dropped: number, errorCode: string | undefined) => void;
  readonly maxBufferedBytes?: number;
}

/**
 * Writes the lines of one turn of the event loop with one system call. While the output fails (a full disk) or is not read
 * (a full pipe), lines are buffered, then dropped, and the write is retried. A non-blocking file descriptor never delays
 * the caller.
 */
export class LogDestination implements DestinationStream {
  readonly #fd: number;
  readonly #options: LogDestinationOptions;
  /** Lines not yet encoded. */
  #lines = '';
  /** The part of the last batch that is not written yet. */
  #batch: Buffer = EMPTY;
  #isScheduled = false;
  /** 0 while the output accepts lines. */
  #retryMs = 0;
  #errorCode: string | undefined;
  #dropped = 0;

  constructor(fd: number, options: LogDestinationOptions) {
    this.#fd = fd;
    this.#options = options;
  }

  write(line: string): void {
    const { maxBufferedBytes = MAX_BUFFERED_BYTES } = this.#options;
    if (this.#batch.length + this.#lines.length >= maxBufferedBytes) {
      this.#dropped++;
      droppedLines++;
      return;
    }
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#flush);
    }
    this.#lines += line;
    if (this.#lines.length >= MAX_TURN_CHARS && this.#retryMs === 0) this.#tryWrite();
  }

  /** Call it before the process exits. Waits for a slow reader for at most a second. */
  flushBeforeExit(): void {
    const deadline = performance.now() + EXIT_FLUSH_MS;
    const sleepCell = new Int32Array(new SharedArrayBuffer(4));
    while (!this.#tryWrite() && this.#errorCode === 'EAGAIN' && performance.now() < deadline) {
      Atomics.wait(sleepCell, 0, 0, MIN_RETRY_MS);
    }
  }

  readonly #flush = (): void => {
    this.#isScheduled = false;
    if (this.#tryWrite()) {
      if (this.#dropped > 0) this.#reportDropped();
    } else {
      this.#isScheduled = true;
      setTimeout(this.#flush, this.#retryMs).unref();
      this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
    }
  };

  /** Returns whether everything is written. */
  #tryWrite(): boolean {
    try {
      while (this.#batch.length > 0 || this.#lines !== '') {
        if (this.#batch.length === 0) {
          this.#batch = Buffer.from(this.#lines);
          this.#lines = '';
        }
        this.#batch = this.#batch.subarray(writeSync(this.#fd, this.#batch));
        this.#retryMs = 0; // Progress: the reader is only slow, so the next attempt is soon.
      }
      this.#batch = EMPTY;
      return true;
    } catch (error) {
      this.#errorCode = (error as NodeJS.ErrnoException).code;
      this.#retryMs = Math.max(MIN_RETRY_MS, this.#retryMs);
      return false;
    }
  }

  #reportDropped(): void {
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.#options.onRecovered(dropped, this.#errorCode);
  }
}
