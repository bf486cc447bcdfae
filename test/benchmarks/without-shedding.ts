import { Overload } from '../../src/overload.ts';

/** Loaded before the gateway, it lets every request in. */
Overload.prototype.admits = () => true;
