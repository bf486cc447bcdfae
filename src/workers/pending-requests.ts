/** Questions to other processes, and who waits for the answers. */
export class PendingRequests<Answer> {
  #lastId = 0;
  readonly #pending = new Map<number, (response: Answer | undefined) => void>();

  /** The answer, or undefined when there is none within `patienceMs`. */
  request(send: (id: number) => void, timeoutMs: number): Promise<Answer | undefined> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    const giveUp = setTimeout(() => this.resolve(id, undefined), timeoutMs);
    this.#pending.set(id, (response) => {
      clearTimeout(giveUp);
      this.#pending.delete(id);
      resolve(response);
    });
    send(id);
    return promise;
  }

  /** For one that nobody waits for any more nothing happens. */
  resolve(id: number, response: Answer | undefined): void {
    this.#pending.get(id)?.(response);
  }
}
