// Runs one of the clients for Node.js of docs/clients.md and writes what it hands on, a line each:
//
//   node driver.mjs NAME URL [LAST ID]
//
//   open          the client says that it is connected
//   event {…}     an event, as JSON with name, id and data
//   error TEXT    the client reports an error
//   closed        the client has given up
//
// With ALONE=1 in the environment nothing but the client keeps the program running.
const [name, url, lastId] = process.argv.slice(2);
const once = name === 'eventsource-parser';
if (!process.env.ALONE && !once) setInterval(() => {}, 2 ** 30);
const write = (line) => process.stdout.write(`${line.replaceAll('\n', ' ')}\n`);
const event = (type, id, data) => write(`event ${JSON.stringify({ name: type, id, data })}`);

// listen runs what has the interface of an EventSource.
function listen(EventSource) {
  const source = new EventSource(url);
  source.addEventListener('open', () => write('open'));
  source.addEventListener('error', (e) => {
    write(`error ${e.message ?? e.status ?? ''}`);
    if (source.readyState === 2) write('closed');
  });
  for (const type of ['message', 'update', 'gap', 'position']) source.addEventListener(type, (e) => event(e.type, e.lastEventId, e.data));
}

// parse is fetch with eventsource-parser: one request, as its documentation has it. Coming back is the caller's.
async function parse() {
  const { createParser } = await import('eventsource-parser');
  const response = await fetch(url, { headers: lastId ? { 'Last-Event-ID': lastId } : {} });
  if (response.status !== 200) throw new Error(`status ${response.status}`);
  write('open');
  const parser = createParser({ onEvent: (e) => event(e.event ?? 'message', e.id ?? '', e.data) });
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
}

const clients = {
  'eventsource 2': async () => listen((await import('eventsource2')).default),
  'eventsource 3': async () => listen((await import('eventsource3')).EventSource),
  'eventsource 4': async () => listen((await import('eventsource4')).EventSource),
  'eventsource 5': async () => listen((await import('eventsource5')).EventSource),
  'launchdarkly-eventsource': async () => listen((await import('launchdarkly-eventsource')).default.EventSource),
  undici: async () => listen((await import('undici')).EventSource),
  'Node.js': async () => listen(globalThis.EventSource), // with --experimental-eventsource
  'eventsource-parser': () => parse().catch((e) => write(`error ${e.cause?.message ?? e.message}`)).then(() => write('closed')),
};
await clients[name]();
