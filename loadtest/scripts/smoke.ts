// Does the server work at all: are events delivered in order and with ids, and are missed events replayed after a reconnect?
//
// It has one VU and takes some seconds. Run it first against a new installation, and after each deployment. VUS, STREAMS, KEYS,
// RATE and DURATION have no effect. It needs ids (ids: auto).
//
//   BASE_URL=https://sse.example loadtest/k6 run loadtest/scripts/smoke.ts
import http from 'k6/http';
import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { EventSource, open, Stream } from './lib/extension.ts';
import { payload } from './lib/publisher.ts';
import { keyName, params, publish, Run, setup as prepare, streamUrl } from './lib/server.ts';
import { settings } from './lib/settings.ts';
import { connectThresholds, orderThresholds, streamOptions, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 1, streams: 1, keys: 1, rate: 1, duration: '1s', p99: 1000 });
const finished = new Counter('smoke_finished');

export const options = {
  scenarios: {
    smoke: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '30s', gracefulStop: '0s' },
  },
  thresholds: {
    checks: ['rate==1'],
    smoke_finished: ['count==1'], // otherwise it did not reach the end
    ...connectThresholds,
    ...orderThresholds,
    'sse_event_latency{phase:live}': [`p(99)<${s.p99}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);

export default async function (run: Run) {
  const key = keyName(run, 0);
  const url = streamUrl(s, key);

  const es = new EventSource(url, streamOptions(s, { expect: { key } }));
  const opened = await happens(es, 'open');
  check(opened, { 'a stream opens': (yes) => yes });
  if (!opened) return es.close();

  const first = collect(es, 5);
  let accepted = 0;
  for (let seq = 1; seq <= 5; seq++) accepted += send(key, seq);
  check(accepted, { 'events are accepted': (n) => n === 5 });
  const live = await first;
  check(live, {
    'all events arrive': (l) => l.length === 5,
    'in order': (l) => l.every((m, i) => JSON.parse(m.data).seq === i + 1),
    'each with an id': (l) => l.every((m) => m.lastEventId !== ''),
  });

  // Text with several lines, an event type, and an id set by the publisher.
  const typed = collect(es, 1, 'note');
  publish(s, key, { event: 'note', id: 'own-7', data: 'first line\nsecond line: \u00fc\u20ac' });
  check((await typed)[0], {
    'a named event arrives': (m) => m !== undefined,
    'lines and characters are kept': (m) => m?.data === 'first line\nsecond line: \u00fc\u20ac',
    "the publisher's id is kept": (m) => m?.lastEventId === 'own-7',
  });
  es.close();

  // Miss three events, then reconnect.
  for (let seq = 6; seq <= 8; seq++) send(key, seq);
  const back = new EventSource(url, streamOptions(s, { lastEventId: live[3]?.lastEventId, expect: { key } }));
  const replayed = await collect(back, 4);
  check(replayed, {
    'missed events are replayed': (l) => l.map((m) => JSON.parse(m.data).seq).join() === '5,6,7,8',
  });
  back.close();

  const lost = new EventSource(url, streamOptions(s, { lastEventId: 'of-no-server', expect: { key } }));
  const reported = await collect(lost, 1, 'gap');
  check(reported[0], { 'an unknown position is reported as a gap': (m) => m !== undefined && JSON.parse(m.data).reason === 'unknown' });
  lost.close();

  // The blocking call of xk6-sse.
  let heard = 0;
  const res = open(`${url}&lastEventId=own-7`, { tags: { name: 'stream' } }, (client) => {
    client.on('event', () => {
      if (++heard === 3) client.close();
    });
  });
  check(res, { 'sse.open gets 200 and the events': (r) => r.status === 200 && heard === 3 });

  const wrong = http.post(`${s.publishUrl}/publish?key=${key}`, '{', params(s, 'wrong'));
  check(wrong, { 'a wrong body is refused with 400': (r) => r.status === 400 });
  finished.add(1);
}

function send(key: string, seq: number): number {
  const data = JSON.parse(payload(JSON.stringify(key), seq, Date.now() * 1000, s.size));
  return publish(s, key, { data }).status === 200 ? 1 : 0;
}

/** Resolves to whether the event arrives within 5 s. */
function happens(es: Stream, type: string): Promise<boolean> {
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(false), 5000);
    es.addEventListener(type, () => {
      clearTimeout(late);
      resolve(true);
    });
    es.onerror = (e) => {
      console.error(`stream: ${e.message}`);
    };
  });
}

/** Resolves to the next n events, or to those that have arrived within 5 s or until the stream is closed. */
function collect(es: Stream, n: number, type = 'message'): Promise<{ data: string; lastEventId: string }[]> {
  return new Promise((resolve) => {
    const list: { data: string; lastEventId: string }[] = [];
    const end = setTimeout(() => resolve(list), 5000);
    es.addEventListener(type, (e) => {
      list.push({ data: e.data, lastEventId: e.lastEventId });
      if (list.length < n) return;
      clearTimeout(end);
      resolve(list);
    });
  });
}

export const handleSummary = summary('smoke', 'does the server work at all?', s, 'one VU');
