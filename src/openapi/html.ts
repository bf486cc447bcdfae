import { Marked } from 'marked';

/** Markup that needs no escaping. */
export interface Html {
  readonly markup: string;
}

type Value = string | number | Html | readonly Html[];

/** A template whose values are escaped, except those that are `Html` already. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return { markup: String.raw({ raw: strings }, ...values.map(toMarkup)) };
}

function toMarkup(value: Value): string {
  if (Array.isArray(value)) return value.map(toMarkup).join('');
  return typeof value === 'object' ? (value as Html).markup : escapeHtml(String(value));
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const TOKEN =
  /(?<key>"[^"\n]*"(?=:))|(?<text>"[^"\n]*"|'[^'\n]*'|`[^`]*`)|(?<note>(?<!:)\/\/.*)|\b(?<word>async|await|catch|class|const|continue|def|else|except|export|false|for|from|function|if|import|in|interface|let|new|null|of|raise|return|throw|true|try|type|while|with|as)\b/g;

/** Code that can be scrolled with the keyboard, with its strings, keywords and comments marked. */
export function codeBlock(code: string): Html {
  const parts: Html[] = [];
  let end = 0;
  for (const match of code.matchAll(TOKEN)) {
    const [kind = '', text = ''] = Object.entries(match.groups ?? {}).find(([, value]) => value !== undefined) ?? [];
    parts.push(html`${code.slice(end, match.index)}<span class="${kind}">${text}</span>`);
    end = match.index + text.length;
  }
  return html`<div class="code"><pre tabindex="0"><code>${parts}${code.slice(end)}</code></pre></div>`;
}

/** The fragment identifier of a heading. */
export const slug = (heading: string): string => heading.toLowerCase().replaceAll(/\W+/g, '-');

const marked = new Marked({
  renderer: {
    code: ({ text }) => codeBlock(text).markup,
    html: ({ text }) => escapeHtml(text),
    heading: ({ text }) => html`<h3 id="${slug(text)}">${text}</h3>`.markup,
  },
});

export const markdown = (text: string): Html => ({ markup: marked.parse(text, { async: false }) });

export const inlineMarkdown = (text: string): Html => ({ markup: marked.parseInline(text, { async: false }) });
