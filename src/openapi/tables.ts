import type { JsonSchema } from './code-samples.ts';
import { type Html, html, inlineMarkdown } from './html.ts';

type Row = readonly Html[];

/** A table that scrolls where the screen is too small. The first cell of a row is its header. */
export function table(label: string, columns: readonly string[], rows: readonly Row[]): Html {
  const head = columns.map((column) => html`<th scope="col">${column}</th>`);
  const body = rows.map(([first = html``, ...cells]) => {
    return html`<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>\n`;
  });
  return html`<div class="scroll" tabindex="0" role="group" aria-label="${label}"><table>
<thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** The fields of a schema, nested ones by their path. */
export function schemaTable(name: string, schema: JsonSchema | undefined): Html {
  return table(`Fields of ${name}`, ['Field', 'Type', 'Meaning'], schema ? fieldRows(schema) : []);
}

function fieldRows({ properties, items }: JsonSchema, prefix = ''): readonly Row[] {
  if (items) return fieldRows(items, prefix);
  return Object.entries(properties ?? {}).flatMap(([name, field]) => [
    [html`<code>${breakable(prefix + name)}</code>`, describeType(field), inlineMarkdown(field.description ?? '')],
    ...fieldRows(field, `${prefix}${name}.`),
  ]);
}

/** Lets a long name break between its words. */
export function breakable(name: string): readonly Html[] {
  return name.split(/(?<=[a-z_])(?=[A-Z])|(?=[./])/).map((word, i) => html`${i > 0 ? html`<wbr>` : ''}${word}`);
}

export function describeType(schema: JsonSchema): Html {
  const { type, anyOf, minimum, format, $ref, items } = schema;
  if ($ref) return schemaLink($ref);
  if (anyOf) return html`${anyOf.map((option, i) => html`${i > 0 ? ' or ' : ''}${describeType(option)}`)}`;
  if ('const' in schema) return html`<code>${JSON.stringify(schema.const)}</code>`;
  if (format === 'date-time') return html`RFC 3339 timestamp`;
  if (items) return html`array of ${describeType(items)}`;
  return html`${[type].flat().join(' or ')}${minimum === undefined ? '' : ` ≥ ${minimum}`}`;
}

export function schemaLink(ref: string): Html {
  const name = ref.slice(ref.lastIndexOf('/') + 1);
  return html`<a href="#schema-${name}">${name}</a>`;
}
