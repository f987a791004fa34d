'use strict';

const net = require('net');
const { until } = require('./wait');

/** A client that looks at the bytes of a stream, on a socket of its own. */
class Subscriber {
  constructor(origin, path, headers = {}, localAddress = undefined) {
    const { hostname, port } = new URL(origin);
    this.fields = Object.entries({ Host: `${hostname}:${port}`, ...headers }).map(([ name, value ]) => `${name}: ${value}\r\n`).join('');
    this.raw = Buffer.alloc(0);
    this.ended = false;
    this.socket = net.connect({ port, host: hostname, localAddress }, () => this.request(path));
    this.socket.on('data', chunk => { this.raw = Buffer.concat([ this.raw, chunk ]); });
    this.socket.on('error', () => {});
    this.socket.on('close', () => { this.ended = true; });
  }

  /** Sends a request. One that is not the first adds to raw, and to nothing else here. */
  request(path) {
    this.socket.write(`GET ${path} HTTP/1.1\r\n${this.fields}\r\n`);
  }

  get head() {
    const text = this.raw.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    return end < 0 ? '' : text.slice(0, end + 2);
  }

  /** The body's bytes so far, without the chunks' frame. */
  get body() {
    const start = this.raw.indexOf('\r\n\r\n');
    if (start < 0) return Buffer.alloc(0);
    const rest = this.raw.subarray(start + 4);
    return /\r\ntransfer-encoding: chunked\r\n/i.test(this.head) ? dechunk(rest) : rest;
  }

  /** Whether the application has told it to come back, since it has no Fanfare: a stream of Fanfare's has no length. */
  get turnedAway() {
    return /\r\ncontent-length: /i.test(this.head);
  }

  get text() {
    return this.body.toString();
  }

  /** The data of the events so far, heartbeats apart. */
  get events() {
    const blocks = this.text.split('\n\n');
    blocks.pop(); // unfinished
    return blocks.filter(block => block.includes('data: ')).map(block => block.split('\n').filter(line => line.startsWith('data: ')).map(line => line.slice(6)).join('\n'));
  }

  async opened() {
    await until('the head of the stream', () => this.head);
    return this;
  }

  async saw(data) {
    await until(`the event ${data}; there are ${this.events.slice(-5)}`, () => this.events.includes(data));
  }

  close() {
    this.socket.destroy();
  }
}

function dechunk(bytes) {
  const parts = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n', at);
    if (end < 0) break;
    const size = parseInt(bytes.toString('latin1', at, end), 16);
    if (!(size > 0)) break;
    parts.push(bytes.subarray(end + 2, Math.min(end + 2 + size, bytes.length)));
    at = end + 2 + size + 2;
    if (at > bytes.length) break;
  }
  return Buffer.concat(parts);
}

function subscribe(origin, key, headers, localAddress) {
  return new Subscriber(origin, key === undefined ? '/stream' : `/stream?connectKey=${encodeURIComponent(key)}`, headers, localAddress).opened();
}

/** A stream of Fanfare's, through an application that may be without it at first. */
function subscribeAgain(origin, key) {
  return until(`a stream of ${key}`, async () => {
    const client = await subscribe(origin, key);
    if (!client.turnedAway) return client;
    client.close();
  });
}

module.exports = { Subscriber, subscribe, subscribeAgain };
