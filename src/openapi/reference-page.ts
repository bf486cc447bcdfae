import type { Endpoint } from '../endpoints/endpoint.ts';
import { GATEWAY_URL } from './code-samples.ts';
import { renderEndpoint } from './endpoint-section.ts';
import { html, inlineMarkdown, markdown, slug } from './html.ts';
import type { Reference } from './reference.ts';
import { schemaTable, table } from './tables.ts';

/** The reference page as HTML: the endpoints, the guide, and what all responses have in common. */
export function renderPage(endpoints: readonly Endpoint[], { info, paths, components }: Reference): string {
  const headings = [...info.description.matchAll(/^## (.*)$/gm)].map(([, heading = '']) => heading);
  const guideContents = html`<ul>${headings.map((heading) => html`<li><a href="#${slug(heading)}">${heading}</a></li>`)}</ul>`;
  const envelopes = Object.entries(components.schemas).filter(([name]) => name.endsWith('Response'));
  const headers = Object.entries(components.headers).map(([name, { description, example }]) => [
    html`<code>${name}</code>`,
    inlineMarkdown(description),
    html`<code>${String(example)}</code>`,
  ]);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="${info.summary}">
<title>${info.title}: API reference</title>
<link rel="icon" type="image/svg+xml" href="docs/icon.svg">
<link rel="stylesheet" href="docs/page.css">
<script src="docs/page.js" type="module"></script>
</head>
<body data-gateway-url="${GATEWAY_URL}">
<a class="skip" href="#main">Skip to content</a>
<header>
<img src="docs/icon.svg" alt="" width="28" height="28"> <b>${info.title}</b> <a href="openapi.json">OpenAPI</a>
<label>Theme<input type="checkbox" id="theme" class="hidden" aria-label="Switch theme" autocomplete="off"></label>
</header>
<nav aria-label="Contents"><ul>
${endpoints.map(
  ({ name, title }) => html`<li><a href="#get${name}">${title}</a><ul>
<li><a href="#get${name}-try">Try it</a></li><li><a href="#schema-${name}">Response fields</a></li>
<li><a href="#get${name}-responses">Responses</a></li><li><a href="#get${name}-errors">Errors</a></li></ul></li>`,
)}
<li><a href="#guide">Guide</a>${guideContents}</li>
<li><a href="#schemas">Response schemas</a></li>
<li><a href="#headers">Response headers</a></li>
</ul></nav>
<main id="main">
<h1>API Reference, version ${info.version}</h1>
${endpoints.map((endpoint) => renderEndpoint(endpoint, paths[endpoint.path]?.get, components.schemas))}
<section class="guide"><h2 id="guide">Guide</h2><div class="contents">${guideContents}</div>
${markdown(info.description)}</section>
<section><h2 id="schemas">Response schemas</h2>${envelopes.map(
    ([name, schema]) => html`<h3 id="schema-${name}">${name}</h3>${schemaTable(name, schema)}`,
  )}</section>
<section><h2 id="headers">Response headers</h2>${table('Response headers', ['Header', 'Meaning', 'Example'], headers)}</section>
</main>
</body>
</html>
`.markup;
}
