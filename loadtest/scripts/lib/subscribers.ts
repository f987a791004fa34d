// Streams that are opened at a rate, and checked to the last event.
import exec from 'k6/execution';
import { Counter, Rate } from 'k6/metrics';
import { EventSource, Stream, StreamOptions } from './extension.ts';
import { endEvent } from './publisher.ts';
import { keyName, Run, streamUrl } from './server.ts';
import { Settings, total } from './settings.ts';

/** Of the streams: those that had every event published on their key, from the first to the last, once each. */
const complete = new Rate('stream_complete');
/** Streams of which is known whether they were complete: a rate of nothing would satisfy every threshold. */
const followedToTheEnd = new Counter('streams_followed');
/** Events by which the server says that a stream missed something. */
const gaps = new Counter('gap_events');

/** Options of every stream of the scripts. */
export function streamOptions(s: Settings, more: StreamOptions = {}): StreamOptions {
  const options: StreamOptions = { name: 'stream', retry: 1000, jitter: 0.5, connectTimeout: s.connectTime * 1000, ...more };
  if (s.streamToken) options.token = s.streamToken;
  return options;
}

/** The scenarios of a test with streams and one publisher. exec of the script: subscribe and publish. */
export function scenarios(s: Settings): Record<string, object> {
  const maxDuration = `${Math.ceil(limit(s))}s`;
  const once = { executor: 'per-vu-iterations', iterations: 1, maxDuration, gracefulStop: '0s' };
  return {
    subscribers: { ...once, vus: s.vus, exec: 'subscribe' },
    publisher: { ...once, vus: 1, exec: 'publish' },
  };
}

/** Seconds after which a scenario is stopped, whatever it does. */
export function limit(s: Settings): number {
  return s.connectTime + s.duration + 2 * s.drain;
}

/** The number of stream j of this VU, counted over all VUs of all generators. */
export function indexOf(s: Settings, j: number): number {
  return j * s.vus + exec.scenario.iterationInTest;
}

/** Runs open(index, j) for each stream j of this VU, all VUs together at connectRate. */
export function paced(s: Settings, open: (index: number, j: number) => void) {
  const start = exec.scenario.startTime;
  for (let j = 0; j < s.streams; j++) {
    const index = indexOf(s, j);
    setTimeout(() => open(index, j), Math.max(0, start + (index * 1000) / s.connectRate - Date.now()));
  }
}

/**
 * Opens this VU's streams and follows each to the end of its key. One that has not come there when the time is over, or that
 * the server refused, is not complete. Streams with a readDelay aren't followed: they end with the others.
 */
export function subscribe(s: Settings, run: Run, options: (j: number) => StreamOptions = () => ({})) {
  const followed = new Set<(ok: boolean) => void>();
  const slow: Stream[] = [];
  let unopened = s.streams;
  const overdue = setTimeout(() => {
    console.error(`${followed.size + unopened} streams of this VU did not come to the end of their key in time`);
    unopened = 0;
    for (const finish of [...followed]) finish(false);
    endIfThrough();
  }, (s.connectTime + s.duration + s.drain) * 1000);
  const endIfThrough = () => {
    if (unopened > 0 || followed.size > 0) return;
    for (const es of slow) es.close();
    clearTimeout(overdue);
  };

  paced(s, (index, j) => {
    if (unopened === 0) return; // the time is over
    const more = options(j);
    const key = keyName(run, index % s.keys);
    const es = new EventSource(streamUrl(s, key), streamOptions(s, { expect: { key, ledger: run.name }, ...more }));
    unopened--;
    if (more.readDelay) {
      slow.push(es);
      countGaps(es, more.tags);
      endIfThrough();
      return;
    }
    const finish = (ok: boolean) => {
      if (!followed.delete(finish)) return;
      complete.add(ok, more.tags);
      followedToTheEnd.add(1);
      es.close();
      endIfThrough();
    };
    followed.add(finish);
    follow(es, more.tags, finish);
  });
}

/** Counts the events by which the server says that the stream missed something. */
function countGaps(es: Stream, tags: Record<string, string> | undefined): () => number {
  let told = 0;
  es.addEventListener('gap', () => {
    told++;
    gaps.add(1, tags);
  });
  return () => told;
}

/** Has finish called with whether the stream got all that was published on its key. */
export function follow(es: Stream, tags: Record<string, string> | undefined, finish: (ok: boolean) => void) {
  const told = countGaps(es, tags);
  es.addEventListener(endEvent, (e) => {
    const { published } = JSON.parse(e.data) as { published: number };
    const all = () => es.stats.events - told() - 1 === published && inOrder(es);
    // What the end has overtaken is late, not lost: it has a second to come.
    if (all()) finish(true);
    else setTimeout(() => finish(all()), 1000);
  });
  es.onerror = (e) => {
    if (e.fatal || es.lastEventId === '') sayOnce(e.message);
    if (e.fatal) finish(false);
  };
}

/** Whether what has come so far was the stream's own, whole, in order and each once. */
export function inOrder(es: Stream): boolean {
  const { lost, duplicate, reordered, misrouted, malformed } = es.stats;
  return lost + duplicate + reordered + misrouted + malformed === 0;
}

const said = new Set<string>();

/** Logs a cause once for each VU: a thousand streams have the same. */
export function sayOnce(message: string) {
  if (said.has(message)) return;
  said.add(message);
  console.error(`stream: ${message}`);
}

/** What the streams of a test without losses must satisfy. Of several generators (RUN) each has a part of them. */
export function streamThresholds(s: Settings, followed = total(s)): Record<string, string[]> {
  return {
    stream_complete: ['rate==1'],
    streams_followed: [s.run ? 'count>0' : `count==${followed}`],
    ...connectThresholds,
    ...orderThresholds,
    ...deliveryThresholds(s),
    sse_event: ['count>0'],
    'sse_event_latency{phase:live}': [`p(99)<${s.p99}`],
  };
}

/** No attempt to open a stream may fail. The reasons have names of their own in the report. */
export const connectThresholds: Record<string, string[]> = {
  sse_connect_success: ['rate==1'],
  ...Object.fromEntries(
    ['refused', 'timeout', 'unanswered', 'reset', 'status'].map((reason) => [`sse_connect_failed{reason:${reason}}`, ['count==0']]),
  ),
};

/** What comes must be the stream's own, whole, in order and each once. */
export const orderThresholds: Record<string, string[]> = {
  sse_lost: ['count==0'],
  sse_duplicate: ['count==0'],
  sse_reordered: ['count==0'],
  sse_misrouted: ['count==0'],
  sse_malformed: ['count==0'],
};

/** What was published while a stream lived must have come. Only the generator that publishes knows what that is. */
export function deliveryThresholds(s: Settings): Record<string, string[]> {
  return { sse_expected: [s.run ? 'count>=0' : 'count>0'], sse_undelivered: ['count==0'] };
}

/** Trends of the summary have these columns. */
export const trendStats = ['count', 'min', 'avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'];
