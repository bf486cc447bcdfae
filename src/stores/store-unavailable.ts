/** A store did not answer, or not with anything usable. */
export class StoreUnavailable extends Error {}
