/** A selector of a PromQL expression. */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
  /** The labels of the innermost aggregation around it; undefined without one. */
  readonly groupedBy: readonly string[] | undefined;
  /** The labels of all aggregations around it. */
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

/** The selectors of a PromQL expression. It supports the syntax that config/ uses, and throws at anything else. */
export function parseSelectors(expression: string): Selector[] {
  const reader = new Reader(tokenize(expression));
  const selectors = reader.readGroup();
  if (!reader.isAtEnd) throw new Error(`unbalanced parentheses in ${expression}`);
  return selectors;
}

function tokenize(expression: string): string[] {
  const tokens: string[] = [];
  const pattern = new RegExp(TOKEN);
  while (pattern.lastIndex < expression.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(expression);
    if (!match) throw new Error(`unsupported syntax: ${expression.slice(at)}`);
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

  /** Reads up to the closing parenthesis of the current group. */
  readGroup(): Selector[] {
    const selectors: Selector[] = [];
    while (!this.isAtEnd && !this.#isNext(')')) selectors.push(...this.#readOne());
    return selectors;
  }

  #readOne(): Selector[] {
    const token = this.#take();
    if (token === '(') return this.#readParenthesized();
    if (!/^[a-zA-Z_:]/.test(token) || OPERATORS.has(token)) return [];
    if (AGGREGATIONS.has(token)) return this.#readAggregation();
    if (['by', 'without', 'on', 'ignoring', 'bool'].includes(token)) throw new Error(`unsupported syntax: ${token}`);
    if (this.#isNext('(')) return []; // A function.
    return [{ metric: token, matchers: this.#readMatchers(), groupedBy: undefined, labels: [] }];
  }

  #readParenthesized(): Selector[] {
    const selectors = this.readGroup();
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
    return this.#readParenthesized().map((selector) => ({
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
    if (token === undefined) throw new Error('the expression is incomplete');
    return token;
  }

  #expect(expected: string): void {
    const token = this.#take();
    if (token !== expected) throw new Error(`expected ${expected}, found ${token}`);
  }
}
