'use strict';

const thrower = { toString() { throw new Error('no text'); } };
const circular = {};
circular.self = circular;

// Calls with a mistake, by what it is in. None may end a process.
module.exports = {
  'publish: an event for a key': sse => sse.publish({ id: 1, event: 'data', data: 'x' }),
  'publish: nothing': sse => sse.publish(),
  'publish: no data': sse => sse.publish('k'),
  'publish: null': sse => sse.publish('k', null),
  'publish: circular': sse => sse.publish('k', { data: circular }),
  'publish: BigInt': sse => sse.publish('k', { data: { n: 1n } }),
  'publish: a getter that throws': sse => sse.publish('k', { get data() { throw new Error('not now'); } }),
  'publish: a getter that throws nothing': sse => sse.publish('k', { get event() { throw undefined; } }), // eslint-disable-line no-throw-literal
  'publish: an error without a text': sse => sse.publish('k', { get data() { throw Object.create(null); } }), // eslint-disable-line no-throw-literal
  'publish: toJSON throws': sse => sse.publish('k', { data: { toJSON() { throw new Error('not now'); } } }),
  'publish: a symbol for a name': sse => sse.publish('k', { event: Symbol('s'), data: 'x' }),
  'publish: frozen': sse => sse.publish('k', Object.freeze({ data: 'x' })),
  'publish: a proxy': sse => sse.publish('k', new Proxy({}, { get() { throw new Error('trap'); } })),
  'publish: a revoked proxy': sse => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return sse.publish('k', proxy); },
  'publish: a line end in a field': sse => sse.publish('k', { id: 'a\nb', data: 'x' }),
  'publish: a key without a text': sse => sse.publish(Object.create(null), 'x'),
  'publish: a key that throws': sse => sse.publish(thrower, 'x'),
  'publish: options': sse => sse.publish('k', 'x', { from: 'somewhere' }),
  'publish: options of BigInt': sse => sse.publish('k', 'x', { from: 1n }),
  'publish: options that throw': sse => sse.publish('k', 'x', { get from() { throw new Error('not now'); } }),
  'publishAll: nothing': sse => sse.publishAll(),
  'publishAll: circular': sse => sse.publishAll({ data: circular }),
  'publishAll: options': sse => sse.publishAll('x', { from: Symbol('s') }),
  'close: a key without a text': sse => sse.close(Object.create(null)),
  'close: options': sse => sse.close('k', { from: {} }),
  'closeAll: options': sse => sse.closeAll({ from: 5 }),
  'count: a key without a text': sse => sse.count(Object.create(null)),
  'count: a key that throws': sse => sse.count(thrower),
  'countAsync: a key that throws': sse => sse.countAsync(thrower),
  'ssePool: it is not there': sse => sse.ssePool.k,
};
