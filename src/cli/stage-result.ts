import { type ErrorCode, errorDefinitions, GatewayError } from '../http/errors.ts';

/** What a stage would do with a request. */
export interface StageResult {
  /** `responds`: with the cached document. `unknown`: state in the memory of the gateway decides. */
  readonly result: 'passed' | 'rejected' | 'responds' | 'unknown';
  readonly status: number | null;
  readonly code: ErrorCode | null;
  /** A sentence. For most rejections, the `details` of the error response. */
  readonly details: string;
  /** The age of the cache entry. */
  readonly ageSeconds?: number;
}

/** Runs the check of a stage itself. */
export function runCheck(check: () => void, passedDetails: string): StageResult {
  try {
    check();
    return passed(passedDetails);
  } catch (error) {
    if (error instanceof GatewayError) return rejected(error.code, error.details);
    throw error;
  }
}

export function passed(details: string): StageResult {
  return { result: 'passed', status: null, code: null, details };
}

export function unknownResult(details: string): StageResult {
  return { result: 'unknown', status: null, code: null, details };
}

export function rejected(code: ErrorCode, details: string): StageResult {
  return { result: 'rejected', status: errorDefinitions[code].status, code, details };
}
