// Runs one of the clients for browsers of docs/clients.md and reports what it hands on to the page's own server, in the lines
// of ../node/driver.mjs: page.html?lib=NAME&url=URL&report=URL
const parameters = new URLSearchParams(location.search);
const url = parameters.get('url');

// Reports go one after the other, because their order matters, and each until it has arrived.
let sent = Promise.resolve();
let number = 0;
async function report(line, n) {
  for (;;) {
    try {
      const response = await fetch(`${parameters.get('report')}?n=${n}`, { method: 'POST', body: line });
      if (response.ok) return;
    } catch {
      // its connection was cut, or refused
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
function write(line) {
  const n = number++;
  sent = sent.then(() => report(line, n));
}
const event = (type, id, data) => write(`event ${JSON.stringify({ name: type, id, data })}`);

function listen(source) {
  source.addEventListener('open', () => write('open'));
  source.addEventListener('error', (e) => {
    write(`error ${e.message ?? e.responseCode ?? ''}`);
    if (source.readyState === 2 && !source.autoReconnect) write('closed');
  });
  for (const type of ['message', 'update', 'gap', 'position']) source.addEventListener(type, (e) => event(e.type, e.lastEventId, e.data));
  return source;
}

const clients = {
  async native() {
    listen(new EventSource(url));
  },
  async 'event-source-polyfill'() {
    await import('/node_modules/event-source-polyfill/src/eventsource.js');
    listen(new EventSourcePolyfill(url));
  },
  async 'reconnecting-eventsource'() {
    const { default: ReconnectingEventSource } = await import('/node_modules/reconnecting-eventsource/build/esm/reconnecting-eventsource.js');
    listen(new ReconnectingEventSource(url));
  },
  async 'sse.js'() {
    const { SSE } = await import('/node_modules/sse.js/lib/sse.js');
    listen(new SSE(url, { autoReconnect: true, start: false })).stream();
  },
  async 'fetch-event-source'() {
    const { fetchEventSource } = await import('/node_modules/@microsoft/fetch-event-source/lib/esm/index.js');
    await fetchEventSource(url, {
      openWhenHidden: true,
      async onopen(response) {
        const type = response.headers.get('content-type');
        if (!response.ok || !type?.startsWith('text/event-stream')) throw new Error(`status ${response.status}, ${type}`);
        write('open');
      },
      onmessage: (e) => event(e.event || 'message', e.id, e.data),
      onclose() {
        throw new Error('the response has ended'); // without it a complete response is the end
      },
      onerror: (e) => write(`error ${e.message}`),
    });
  },
};
clients[parameters.get('lib')]().catch((e) => write(`error ${e}`)).then(() => parameters.get('lib') === 'fetch-event-source' && write('closed'));
