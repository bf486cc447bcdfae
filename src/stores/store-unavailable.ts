/** A store did not answer, or not with anything usable. */
export class StoreUnavailable extends Error {}

/** A store answered, with a record that is none. */
export class DamagedRecord extends StoreUnavailable {}
