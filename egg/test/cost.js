'use strict';

// What a stream costs, proxied by the workers and at Fanfare itself: node test/cost.js [ROUNDS]. It prints the CPU time of the
// workers and of Fanfare, for each stream that is opened and for each event that a subscriber gets.
const fs = require('fs');
const net = require('net');
const path = require('path');
const { randomBytes } = require('crypto');
const { startCluster } = require('./harness/application');
const { binary } = require('./harness/build');
const { until } = require('./harness/wait');

const STREAMS = 500;
const AT_ONCE = 20; // streams that are being opened
const EVENTS = 100;
const EVERY = 50; // ms
const TICK = 10; // ms, the unit of /proc/PID/stat
const TOKEN = randomBytes(16).toString('hex');

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

// cpu is the CPU time of a process in ms.
function cpu(pid) {
  const [ , text ] = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(/\) (?=\w )/);
  const fields = text.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK;
}

// openStreams opens streams with a common key, and each with a key of its own: Fanfare would ask once for requests that are alike.
async function openStreams(origin, cookie, key, n) {
  const { port, hostname } = new URL(origin);
  const all = { sockets: [], events: 0, ended: 0 };
  let next = 0;
  let open = 0;
  const openOne = () => {
    const id = next++;
    if (id >= n) return;
    const socket = net.connect(Number(port), hostname, () => socket.write(`GET /stream?connectKey=${key}&connectKey=${key}.${id} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nCookie: ${cookie}\r\n\r\n`));
    let isOpen = false;
    socket.on('error', () => {}).on('end', () => { all.ended++; }).on('data', data => {
      const text = data.toString('latin1');
      all.events += text.split('data: event').length - 1;
      if (isOpen || !text.includes('text/event-stream')) return;
      isOpen = true;
      open++;
      openOne();
    });
    all.sockets.push(socket);
  };
  for (let i = 0; i < AT_ONCE; i++) openOne();
  await until('all streams are open', () => open === n);
  return all;
}

async function main(rounds) {
  const application = await startCluster({
    version: 'egg4', plugin: 'fanfare-egg', workers: 2, env: { TEST_AUTHORIZE: 'function' },
    server: { token: TOKEN, start: { binary } },
    prepare: dir => {
      const file = path.join(dir, 'config/config.default.js');
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('maxClients: 3,', 'maxClients: 10000,').replace('pingInterval: 300,', 'pingInterval: 10000,'));
    },
  });
  try {
    const [ , stream, admin, pid ] = /started Fanfare: streams at (\S+), publish API at (\S+), pid (\d+)/.exec(application.log());
    const workers = await application.pids(2);
    const login = await fetch(`${application.origin}/login?user=alice`);
    const cookie = login.headers.getSetCookie().map(text => text.split(';')[0]).join('; ');
    const used = () => ({ workers: workers.reduce((sum, worker) => sum + cpu(worker), 0), fanfare: cpu(pid) });

    const measure = async (origin, n) => {
      const key = `user.alice.${randomBytes(6).toString('hex')}`;
      const begin = used();
      const streams = await openStreams(origin, cookie, key, n);
      await sleep(300);
      const open = used();
      for (let i = 0; i < EVENTS; i++) {
        await fetch(`${admin}/publish?key=${key}`, { method: 'POST', headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'text/plain' }, body: 'event'.padEnd(90, '.') });
        await sleep(EVERY);
      }
      await until('all events have arrived', () => streams.ended > 0 || streams.events === n * EVENTS);
      if (streams.ended > 0) throw new Error(`${streams.ended} streams ended: the machine is too busy for this`);
      await sleep(300);
      const end = used();
      for (const socket of streams.sockets) socket.destroy();
      await sleep(1500);
      const micros = (who, from, to, count) => `${(1000 * (to[who] - from[who]) / count).toFixed(1)} us`;
      return [ 'workers', 'fanfare' ].map(who => `${who}: ${micros(who, begin, open, n)} a stream, ${micros(who, open, end, n * EVENTS)} an event`).join('; ');
    };
    const ways = { proxied: application.origin, direct: stream };
    for (const origin of Object.values(ways)) await measure(origin, AT_ONCE); // warms up
    for (let i = 0; i < rounds; i++) {
      for (const [ way, origin ] of Object.entries(ways)) console.log(`${way}: ${await measure(origin, STREAMS)}`);
    }
  } finally {
    await application.stop();
  }
}

main(Number(process.argv[2]) || 3);
