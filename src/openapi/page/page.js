// The page is the same for every host name and path prefix: only the browser knows the address of the gateway.
const gatewayUrl = new URL('.', location.href).href.replace(/\/$/, '');
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  texts.currentNode.data = texts.currentNode.data.replaceAll(document.body.dataset.gatewayUrl, gatewayUrl);
}

for (const note of document.querySelectorAll('.no-script')) note.remove();

// Browsers provide the clipboard over HTTPS and on localhost only.
for (const block of navigator.clipboard ? document.querySelectorAll('.code') : []) {
  const button = Object.assign(document.createElement('button'), { type: 'button', textContent: 'Copy' });
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(block.querySelector('code').textContent);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), 2000);
  });
  block.append(button);
}

for (const form of document.forms) {
  const [status, result] = form.querySelectorAll('output, .result');
  form.hidden = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    status.textContent = 'Sending…';
    result.hidden = true;
    try {
      const startMs = performance.now();
      const response = await sendRequest(form);
      const body = prettify(await response.text());
      const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
      for (const [i, code] of result.querySelectorAll('code').entries()) code.textContent = [headers, body][i];
      status.textContent = `${response.status} ${response.statusText} in ${Math.round(performance.now() - startMs)} ms`;
      result.hidden = false;
    } catch (error) {
      status.textContent = `No response: ${error.message}`;
    }
  });
}

function sendRequest(form) {
  const { 'X-API-Key': key, ...parameters } = Object.fromEntries(new FormData(form));
  const path = form.dataset.path.replaceAll(/\{(\w+)\}/g, (_, name) => encodeURIComponent(parameters[name]));
  const headers = key ? { 'X-API-Key': key } : {};
  return fetch(gatewayUrl + path, { headers, cache: 'no-store', signal: AbortSignal.timeout(30_000) });
}

function prettify(body) {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}
