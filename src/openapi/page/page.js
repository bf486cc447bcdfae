/* global SwaggerUIBundle */

/** What the description has in the place of the gateway's own address, which only its readers know. */
const PLACEHOLDER = 'https://gateway.example';

const theme = document.getElementById('theme');
const prefersDark = matchMedia('(prefers-color-scheme: dark)');
setTheme(prefersDark.matches);
prefersDark.addEventListener('change', () => setTheme(prefersDark.matches));
theme.addEventListener('click', () => setTheme(theme.ariaPressed !== 'true'));

function setTheme(isDark) {
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
  theme.ariaPressed = String(isDark);
}

const here = new URL('.', location.href).href.replace(/\/$/, '');
const text = await (await fetch('openapi.json')).text();
const spec = JSON.parse(text.replaceAll(PLACEHOLDER, here));
document.title = `${spec.info.title}: API reference`;

/** What is other than in Swagger UI: every example can be copied, headers are folded away, one server is no choice. */
const ownComponents = () => ({
  wrapComponents: {
    HighlightCode:
      (Original, { React }) =>
      (props) =>
        React.createElement(Original, { ...props, canCopy: true }),
    headers:
      (Original, { React }) =>
      (props) =>
        fold(React, 'Headers', React.createElement(Original, props)),
    ServersContainer: () => () => null,
  },
});

function fold(React, title, content) {
  return React.createElement(
    'details',
    { className: 'headers-fold' },
    React.createElement('summary', null, title),
    content,
  );
}

const { get: operation } = Object.values(spec.paths)[0];
const ui = SwaggerUIBundle({
  spec,
  domNode: document.getElementById('reference'),
  plugins: [ownComponents],
  syntaxHighlight: { theme: 'obsidian' },
  validatorUrl: null, // It would be asked on another host.
  persistAuthorization: false, // The key stays in the page, and is gone with it.
  tryItOutEnabled: true,
  displayRequestDuration: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  supportedSubmitMethods: ['get', 'head'],
  onComplete: () => {
    ui.layoutActions.show(['operations', operation.tags[0], operation.operationId], true);
    new MutationObserver(complete).observe(document.getElementById('reference'), {
      childList: true,
      subtree: true,
    });
    complete();
  },
});

/**
 * What Swagger UI leaves out: gives each snippet in the text a button that copies it, each piece of code a place in the
 * order of the Tab key (it may be scrolled), and the button that closes the dialog a name.
 */
function complete() {
  const clipboard = navigator.clipboard; // Not there on a page that came by plain HTTP from another machine.
  for (const block of clipboard ? document.querySelectorAll('.renderedMarkdown pre:not(:has(button))') : []) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'Copy';
    const code = block.querySelector('code');
    button.addEventListener('click', async () => {
      await clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
    block.append(button);
  }
  for (const block of document.querySelectorAll('.swagger-ui pre:not([tabindex])')) block.tabIndex = 0;
  document.querySelector('.close-modal')?.setAttribute('aria-label', 'Close the dialog');
  // Their names are other than what stands on them.
  for (const button of document.querySelectorAll('.modal-btn[aria-label]')) button.removeAttribute('aria-label');
}
