/** A metric as an expression names it. */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
  /** What the innermost aggregation around it groups by; undefined where there is none. */
  readonly groupedBy: readonly string[] | undefined;
  /** What any aggregation around it groups by. */
  readonly labels: readonly string[];
}

export interface Matcher {
  readonly label: string;
  readonly operator: string;
  readonly value: string;
}

const TOKEN =
  /\s+|("(?:\\.|[^"\\])*"|\[[^\]]*\]|\d+(?:\.\d+)?(?:ms|[smhdwy])?|[a-zA-Z_:][\w:]*|=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])/y;
const AGGREGATIONS = new Set(['sum', 'max', 'min', 'avg', 'count', 'group', 'stddev']);
const OPERATORS = new Set(['and', 'or', 'unless', 'offset']);

/**
 * The metrics of a PromQL expression with the labels that are asked of them. It knows the part of the language that the
 * files in config/ use, and throws at anything else rather than overlook it.
 */
export function selectorsOf(expression: string): Selector[] {
  const reader = new Reader(tokensOf(expression));
  const selectors = reader.read();
  if (!reader.isAtEnd) throw new Error(`too many brackets close in ${expression}`);
  return selectors;
}

function tokensOf(expression: string): string[] {
  const tokens: string[] = [];
  const pattern = new RegExp(TOKEN);
  while (pattern.lastIndex < expression.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(expression);
    if (!match) throw new Error(`not understood: ${expression.slice(at)}`);
    if (match[1] !== undefined) tokens.push(match[1]);
  }
  return tokens;
}

class Reader {
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#tokens.length;
  }

  /** Until the bracket closes that was open at the start. */
  read(): Selector[] {
    const selectors: Selector[] = [];
    while (!this.isAtEnd && !this.#isNext(')')) selectors.push(...this.#readOne());
    return selectors;
  }

  #readOne(): Selector[] {
    const token = this.#take();
    if (token === '(') return this.#readBracket();
    if (!/^[a-zA-Z_:]/.test(token) || OPERATORS.has(token)) return [];
    if (AGGREGATIONS.has(token)) return this.#readAggregation();
    if (['by', 'without', 'on', 'ignoring', 'bool'].includes(token)) throw new Error(`not understood: ${token}`);
    if (this.#isNext('(')) return []; // A function.
    return [{ metric: token, matchers: this.#readMatchers(), groupedBy: undefined, labels: [] }];
  }

  #readBracket(): Selector[] {
    const selectors = this.read();
    this.#expect(')');
    return selectors;
  }

  #readAggregation(): Selector[] {
    const labels: string[] = [];
    if (this.#isNext('by')) {
      this.#take();
      this.#expect('(');
      while (!this.#isNext(')')) {
        const token = this.#take();
        if (token !== ',') labels.push(token);
      }
      this.#expect(')');
    }
    this.#expect('(');
    return this.#readBracket().map((selector) => ({
      ...selector,
      groupedBy: selector.groupedBy ?? labels,
      labels: [...selector.labels, ...labels],
    }));
  }

  #readMatchers(): Matcher[] {
    const matchers: Matcher[] = [];
    if (!this.#isNext('{')) return matchers;
    this.#take();
    while (!this.#isNext('}')) {
      const [label, operator, value] = [this.#take(), this.#take(), this.#take()];
      matchers.push({ label, operator, value: JSON.parse(value) });
      if (this.#isNext(',')) this.#take();
    }
    this.#expect('}');
    return matchers;
  }

  #isNext(token: string): boolean {
    return this.#tokens[this.#at] === token;
  }

  #take(): string {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new Error('the expression has no end');
    return token;
  }

  #expect(wanted: string): void {
    const token = this.#take();
    if (token !== wanted) throw new Error(`${token} in the place of ${wanted}`);
  }
}
