// Does a client that was away get exactly what it missed, and how soon?
//
// For DURATION, each VU repeats this: it opens a stream on its own key, closes it, and publishes MISSED events (default 500).
// Then STREAMS clients connect at once with the last event id of the closed stream. Each must get these events once, in order and
// without a gap, within P99 milliseconds from connecting to the last event. MISSED must be less than the server's history (1024
// by default). RATE and KEYS have no effect.
//
//   VUS=10 STREAMS=20 MISSED=1000 loadtest/k6 run loadtest/scripts/resume.ts
import exec from 'k6/execution';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import { EventSource, Stream } from './lib/extension.ts';
import { payload } from './lib/publisher.ts';
import { publishLines, Run, setup as prepare, streamUrl } from './lib/server.ts';
import { settings, whole } from './lib/settings.ts';
import { connectThresholds, inOrder, orderThresholds, logOnce, streamOptions, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 2, streams: 10, keys: 1, rate: 1, duration: '20s', p99: 1000 });
const missed = whole('MISSED', 500, 1, 100_000);
const patience = 10_000; // ms

const complete = new Rate('stream_complete');
const count = new Counter('resume_count');
const duration = new Trend('resume_duration', true);
const gaps = new Counter('gap_events');

export const options = {
  scenarios: {
    resume: { executor: 'constant-vus', vus: s.vus, duration: `${s.duration}s`, gracefulStop: `${2 * patience / 1000}s` },
  },
  thresholds: {
    checks: ['rate==1'],
    stream_complete: ['rate==1'],
    resume_duration: [`p(99)<${s.p99}`],
    gap_events: ['count==0'], // otherwise MISSED is more than the history
    ...connectThresholds,
    ...orderThresholds,
    'sse_event_latency{phase:replay}': ['max>0'], // otherwise nothing was replayed
    resume_count: ['count>0'], // otherwise no client resumed
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);

export default async function (run: Run) {
  const key = `${run.name}-${exec.scenario.iterationInTest}`;
  const es = new EventSource(streamUrl(s, key), streamOptions(s, { expect: { key } }));
  es.onerror = (e) => logOnce(e.message);
  const seen = within(new Promise<string>((resolve) => es.addEventListener('message', (e) => resolve(e.lastEventId))), '');
  await within(new Promise<string>((resolve) => es.addEventListener('open', () => resolve('open'))), '');
  publishLines(s, [line(key, 1)]);
  const id = await seen;
  es.close();
  check(id, { 'an event with an id arrived before the stream was closed': (i) => i !== '' });
  if (id === '') return;

  for (let from = 2; from < missed + 2; from += 500) {
    const lines: string[] = [];
    for (let seq = from; seq < Math.min(from + 500, missed + 2); seq++) lines.push(line(key, seq));
    check(publishLines(s, lines), { 'the events to be missed are accepted': (yes) => yes });
  }
  await Promise.all(Array.from({ length: s.streams }, () => resume(key, id)));
}

/** Reconnects to the key and waits for its last event. */
async function resume(key: string, lastEventId: string) {
  const begin = Date.now();
  const es = new EventSource(streamUrl(s, key), streamOptions(s, { lastEventId, expect: { key } }));
  es.onerror = (e) => logOnce(e.message);
  let gapCount = 0;
  es.addEventListener('gap', () => {
    gapCount++;
    gaps.add(1);
  });
  const arrived = await within(lastOf(es, missed + 1), false);
  const took = Date.now() - begin;
  const all = () => arrived && gapCount === 0 && es.stats.events === missed && inOrder(es);
  if (arrived && !all()) await new Promise<void>((resolve) => setTimeout(resolve, 1000)); // the last event may have overtaken others
  count.add(1);
  complete.add(all());
  // The time of a client that got nothing counts as well, because it has waited for that long.
  duration.add(took);
  es.close();
}

/** Resolves when the event with the sequence number has arrived. */
function lastOf(es: Stream, seq: number): Promise<boolean> {
  return new Promise((resolve) => {
    es.addEventListener('message', (e) => {
      if (e.data.startsWith(`{"seq":${seq},`)) resolve(true);
    });
  });
}

function within<T>(promise: Promise<T>, otherwise: T): Promise<T> {
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(otherwise), patience);
    promise.then((value) => {
      clearTimeout(late);
      resolve(value);
    });
  });
}

function line(key: string, seq: number): string {
  return `{"key":${JSON.stringify(key)},"data":${payload(JSON.stringify(key), seq, Date.now() * 1000, s.size)}}`;
}

export const handleSummary = summary('resume', 'does a client that was away get exactly what it missed, and how soon?', s, `${s.vus} VUs, each with ${s.streams} clients that missed ${missed} events`);
