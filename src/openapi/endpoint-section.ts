import type { Endpoint } from '../endpoints/endpoint.ts';
import { GATEWAY_URL } from './code-samples.ts';
import { codeBlock, type Html, html, inlineMarkdown } from './html.ts';
import { prerequisites } from './operation-description.ts';
import type { DocumentedResponse, Operation, Parameter, Reference } from './reference.ts';
import { breakable, describeType, schemaLink, schemaTable, table } from './tables.ts';

type Schemas = Reference['components']['schemas'];

/** All that a reader needs to call one endpoint. */
export function renderEndpoint(endpoint: Endpoint, operation: Operation | undefined, schemas: Schemas): Html {
  if (!operation) throw new Error(`the OpenAPI document lacks ${endpoint.path}`);
  const { name, title, description, path } = endpoint;
  const responses = Object.entries(operation.responses);
  return html`<section>
<h2 id="${operation.operationId}">${title}</h2>
<p class="lead">${description}</p>
<p class="route"><b class="badge">GET</b> <code>${breakable(path)}</code></p>
<div class="split"><div>
${renderNotes(endpoint)}
<h3>Parameters</h3><ul class="rows">${operation.parameters.map(renderParameter)}</ul>
<h3>Request body</h3><p>This endpoint does not define a request body. A <code>HEAD</code> request returns the headers only.</p>
</div><div>
${renderSamples(operation)}
${renderTryIt(endpoint, operation)}
</div></div>
<div class="split">
<div><h3 id="schema-${name}">Response fields</h3>${schemaTable(name, schemas[name])}</div>
<div><h3>Example response</h3>${renderExample(operation.responses['200'])}</div>
</div>
<h3 id="${operation.operationId}-responses">Responses</h3><ul class="rows">${responses.map(renderResponse)}</ul>
<h3 id="${operation.operationId}-errors">Errors</h3>
${table('Errors', ['Status', 'error.code', 'error.message', 'Retry'], responses.flatMap(errorRow))}
</section>`;
}

function renderNotes({ permission }: Endpoint): Html {
  const needs = Object.entries(prerequisites).map(([name, meaning]) => html`<li><code>${name}</code>: ${meaning}</li>`);
  return html`<dl>
<dt>Base URL</dt><dd><code>${GATEWAY_URL}</code>
<span class="no-script">stands for the address of this page without <code>/docs</code></span></dd>
<dt>Required API permission</dt><dd><code>${permission}</code></dd>
<dt>Prerequisites</dt><dd><ul>${needs}</ul></dd>
</dl>
<h3>Get an API key</h3>
<p>Request a key from the operator of this gateway. Name the permission <code>${permission}</code> and your account groups.
Send the key in the <code>X-API-Key</code> header, or in <code>Authorization</code> as a bearer token.</p>
<p>Operators create a key with this command, which displays it once:</p>
${codeBlock(`npm run -s cli -- keys create --name NAME \\\n  --permission ${permission} --account-group ID`)}`;
}

function renderParameter({ name, in: location, required, description, schema }: Parameter): Html {
  return html`<li><code>${breakable(name)}</code>
<small>${describeType(schema)}, in ${location}, ${required ? 'required' : 'optional'}</small>
<p>${inlineMarkdown(description)}</p>${schema.pattern ? html`<p>Pattern: <code>${schema.pattern}</code></p>` : ''}</li>`;
}

function renderSamples({ operationId, 'x-codeSamples': samples }: Operation): Html {
  const tabs = samples.map(({ label }, i) => {
    const id = `${operationId}-sample-${i}`;
    const checked = i === 0 ? html` checked` : '';
    return html`<input type="radio" class="hidden" name="${operationId}-sample" id="${id}"${checked}><label for="${id}">${label}</label>`;
  });
  return html`<h3>Request</h3>
<fieldset class="tabs"><legend class="hidden">Language</legend>${tabs}${samples.map(({ source }) => codeBlock(source))}</fieldset>
<small>The samples read your key from the environment variable <code>API_KEY</code>.</small>`;
}

function renderTryIt({ path }: Endpoint, { operationId, parameters }: Operation): Html {
  const fields = parameters.filter((parameter) => parameter.in === 'path');
  return html`<h3 id="${operationId}-try">Try it</h3>
<p class="no-script">This form needs JavaScript.</p>
<form data-path="${path}" aria-labelledby="${operationId}-try" hidden>
<label>API key<input type="password" name="X-API-Key" placeholder="cgw_…" autocomplete="off"></label>
${fields.map(({ name, example = '' }) => html`<label>${name}<input name="${name}" value="${example}" required autocomplete="off"></label>`)}
<button type="submit">Send</button> <small>Your key stays in this page and is gone when you leave it.</small>
<output></output>
<div class="result" hidden><small>Headers</small>${codeBlock('')}<small>Body</small>${codeBlock('')}</div>
</form>`;
}

function renderResponse([status, response]: [string, DocumentedResponse]): Html {
  const schema = response.content?.['application/json'].schema.$ref;
  const headers = Object.keys(response.headers).map((name) => html`<code>${name}</code> `);
  return html`<li class="response"><b class="badge status-${status.charAt(0)}">${status}</b><div>
<p>${inlineMarkdown(response.description)}</p>
${schema ? html`<small>Schema: ${schemaLink(schema)}</small>` : ''}
<details><summary>${schema ? 'Example and headers' : 'Headers'}<span class="hidden"> of the ${status}</span></summary>
<p><a href="#headers">Headers</a>: ${headers}</p>${renderExample(response)}</details></div></li>`;
}

function renderExample(response: DocumentedResponse | undefined): Html {
  const content = response?.content?.['application/json'];
  return content ? codeBlock(JSON.stringify(content.example, null, 2)) : html``;
}

/** A client can retry after the delay that the response names, or with back-off where the fault can be transient. */
function errorRow([status, { content, headers }]: [string, DocumentedResponse]): readonly (readonly Html[])[] {
  const error = content?.['application/json'].example.error;
  const backOff = ['408', '500', '502'].includes(status) ? html`with back-off` : html`no`;
  const retry = 'Retry-After' in headers ? html`after <code>Retry-After</code>` : backOff;
  return error ? [[html`${status}`, html`<code>${breakable(error.code)}</code>`, html`${error.message}`, retry]] : [];
}
