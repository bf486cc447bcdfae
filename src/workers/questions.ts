/** Questions to other processes, and who waits for the answers. */
export class Questions<Answer> {
  #lastId = 0;
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>();

  /** The answer, or undefined when there is none within `patienceMs`. */
  ask(send: (id: number) => void, patienceMs: number): Promise<Answer | undefined> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    const giveUp = setTimeout(() => this.answer(id, undefined), patienceMs);
    this.#waiting.set(id, (answer) => {
      clearTimeout(giveUp);
      this.#waiting.delete(id);
      resolve(answer);
    });
    send(id);
    return promise;
  }

  /** For one that nobody waits for any more nothing happens. */
  answer(id: number, answer: Answer | undefined): void {
    this.#waiting.get(id)?.(answer);
  }
}
