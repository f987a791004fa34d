// Streams that are opened at a rate, and checked until the last event.
import exec from 'k6/execution';
import { Counter, Rate } from 'k6/metrics';
import { EventSource, Stream, StreamOptions } from './extension.ts';
import { endEvent } from './publisher.ts';
import { keyName, Run, streamUrl } from './server.ts';
import { Settings, total } from './settings.ts';

/** The rate of streams that got every event published on their key, from the first to the last, once each. */
const complete = new Rate('stream_complete');
/** Streams that were checked for completeness. Without it, a rate over no streams would satisfy every threshold. */
const followedToTheEnd = new Counter('streams_followed');
/** Events by which the server reports that a stream missed something. */
const gaps = new Counter('gap_events');

/** Options of every stream of the scripts. */
export function streamOptions(s: Settings, more: StreamOptions = {}): StreamOptions {
  const options: StreamOptions = { name: 'stream', retry: 1000, jitter: 0.5, connectTimeout: s.connectTime * 1000, ...more };
  if (s.streamToken) options.token = s.streamToken;
  return options;
}

/** The scenarios of a test with streams and one publisher. The script exports subscribe and publish. */
export function scenarios(s: Settings): Record<string, object> {
  const maxDuration = `${Math.ceil(limit(s))}s`;
  const once = { executor: 'per-vu-iterations', iterations: 1, maxDuration, gracefulStop: '0s' };
  return {
    subscribers: { ...once, vus: s.vus, exec: 'subscribe' },
    publisher: { ...once, vus: 1, exec: 'publish' },
  };
}

/** Seconds after which a scenario is stopped in any case. */
export function limit(s: Settings): number {
  return s.connectTime + s.duration + 2 * s.drain;
}

/** The index of stream j of this VU, over all VUs of all generators. */
export function indexOf(s: Settings, j: number): number {
  return j * s.vus + exec.scenario.iterationInTest;
}

/** Calls open(index, j) for each stream j of this VU. All VUs together do so at connectRate. */
export function paced(s: Settings, open: (index: number, j: number) => void) {
  const start = exec.scenario.startTime;
  for (let j = 0; j < s.streams; j++) {
    const index = indexOf(s, j);
    setTimeout(() => open(index, j), Math.max(0, start + (index * 1000) / s.connectRate - Date.now()));
  }
}

/**
 * Opens this VU's streams and follows each to the end of its key. A stream that the server refuses, or that does not reach the end in
 * time, is not complete. Streams with a readDelay are not followed: they end with the others.
 */
export function subscribe(s: Settings, run: Run, options: (j: number) => StreamOptions = () => ({})) {
  const followed = new Set<(ok: boolean) => void>();
  const slow: Stream[] = [];
  let unopened = s.streams;
  const overdue = setTimeout(() => {
    console.error(`${followed.size + unopened} streams of this VU did not reach the end of their key in time`);
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

/** Counts the events by which the server reports that the stream missed something. */
function countGaps(es: Stream, tags: Record<string, string> | undefined): () => number {
  let count = 0;
  es.addEventListener('gap', () => {
    count++;
    gaps.add(1, tags);
  });
  return () => count;
}

/** Calls finish with whether the stream got everything that was published on its key. */
export function follow(es: Stream, tags: Record<string, string> | undefined, finish: (ok: boolean) => void) {
  const gapCount = countGaps(es, tags);
  es.addEventListener(endEvent, (e) => {
    const { published } = JSON.parse(e.data) as { published: number };
    const all = () => es.stats.events - gapCount() - 1 === published && inOrder(es);
    // Events that the end has overtaken are late and not lost. They have a second to arrive.
    if (all()) finish(true);
    else setTimeout(() => finish(all()), 1000);
  });
  es.onerror = (e) => {
    if (e.fatal || es.lastEventId === '') logOnce(e.message);
    if (e.fatal) finish(false);
  };
}

/** Whether all events so far belong to the stream, are complete, in order, and arrived once. */
export function inOrder(es: Stream): boolean {
  const { lost, duplicate, reordered, misrouted, malformed } = es.stats;
  return lost + duplicate + reordered + misrouted + malformed === 0;
}

const said = new Set<string>();

/** Logs a cause once per VU, because a thousand streams can have the same. */
export function logOnce(message: string) {
  if (said.has(message)) return;
  said.add(message);
  console.error(`stream: ${message}`);
}

/** The thresholds for the streams of a test without losses. With several generators (RUN), each has a part of the streams. */
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

/** No attempt to open a stream may fail. The report has a threshold for each reason. */
export const connectThresholds: Record<string, string[]> = {
  sse_connect_success: ['rate==1'],
  ...Object.fromEntries(
    ['refused', 'timeout', 'unanswered', 'reset', 'status'].map((reason) => [`sse_connect_failed{reason:${reason}}`, ['count==0']]),
  ),
};

/** All events must belong to the stream, be complete, in order, and arrive once. */
export const orderThresholds: Record<string, string[]> = {
  sse_lost: ['count==0'],
  sse_duplicate: ['count==0'],
  sse_reordered: ['count==0'],
  sse_misrouted: ['count==0'],
  sse_malformed: ['count==0'],
};

/** Events that were published while a stream was open must have arrived. Only the generator that publishes knows them. */
export function deliveryThresholds(s: Settings): Record<string, string[]> {
  return { sse_expected: [s.run ? 'count>=0' : 'count>0'], sse_undelivered: ['count==0'] };
}

/** The columns of trends in the summary. */
export const trendStats = ['count', 'min', 'avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'];
