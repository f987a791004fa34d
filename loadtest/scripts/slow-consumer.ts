// Do clients that read slowly hurt those that don't?
//
// PERCENT (default 10) of the VUS x STREAMS streams pause for READ_DELAY (default 1s) after each 4 KiB that they read. Events
// are SIZE bytes (default 4000), so they fall behind at once. Those that read must get everything within P99; what becomes
// of the others is the server's policy (slow): they are reported, and the gaps that it told them of, but nothing is demanded.
//
// Slow streams have a receive buffer of RECEIVE_BUFFER bytes (default 4096), since the kernels between would take megabytes for
// them. If the server doesn't notice all the same, by blocked streams in its /metrics, gaps or disconnects, then nothing was
// tested, and the run fails: give a larger SIZE, RATE or DURATION.
//
//   PERCENT=20 SIZE=16000 RATE=100 loadtest/k6 run loadtest/scripts/slow-consumer.ts
import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { params, Run, setup as prepare, waitForStreams } from './lib/server.ts';
import { seconds, settings, whole } from './lib/settings.ts';
import { limit, orderThresholds, scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 20, keys: 1, rate: 50, size: 4000, duration: '20s', p99: 1000 });
const percent = whole('PERCENT', 10, 1, 90);
const readDelay = seconds('READ_DELAY', '1s') * 1000;
const receiveBuffer = whole('RECEIVE_BUFFER', 4096, 1, 1 << 30);
/** Signs that a slow stream held the server up: without one, the kernels took all that it didn't read. */
const backpressure = new Counter('backpressure');
if (s.streams * percent < 100) {
  throw new Error(`STREAMS=${s.streams}: ${percent} % of a VU's streams (PERCENT) is less than one; give at least ${Math.ceil(100 / percent)}`);
}

const strict = streamThresholds(s, s.vus * (s.streams - Math.floor((s.streams * percent) / 100)));

const fast = (metric: string) => [`${metric}{consumer:fast}`, ['count==0']];
const { sse_connect_success, streams_followed, ...rest } = strict;
const connects = Object.entries(rest).filter(([name]) => name.startsWith('sse_connect'));

export const options = {
  scenarios: {
    ...scenarios(s),
    watcher: { executor: 'per-vu-iterations', vus: 1, iterations: 1, exec: 'watch', maxDuration: `${Math.ceil(limit(s))}s`, gracefulStop: '0s' },
  },
  thresholds: {
    ...publisherThresholds(s),
    sse_connect_success,
    ...Object.fromEntries(connects),
    streams_followed,
    'stream_complete{consumer:fast}': strict.stream_complete,
    ...Object.fromEntries(Object.keys(orderThresholds).map(fast)),
    'sse_expected{consumer:fast}': strict.sse_expected,
    'sse_undelivered{consumer:fast}': strict.sse_undelivered,
    'sse_event_latency{consumer:fast}': strict['sse_event_latency{phase:live}'],
    'sse_disconnects{consumer:fast}': ['count==0'],
    // Otherwise nobody was slow. Bytes, not events: one may be read for longer than the run lasts.
    'sse_data_received{consumer:slow}': ['count>0'],
    backpressure: ['count>0'], // otherwise the server never noticed
    'sse_event_latency{consumer:slow}': ['max>=0'], // so that the summary has it
  },
  summaryTrendStats: trendStats,
};

/** Slow streams are spread over a VU's streams; the first is never one. */
const isSlow = (j: number) => Math.floor(((j + 1) * percent) / 100) > Math.floor((j * percent) / 100);

export const setup = () => prepare(s);
export const subscribe = (run: Run) =>
  follow(s, run, (j) => (isSlow(j) ? { readDelay, receiveBuffer, tags: { consumer: 'slow' } } : { tags: { consumer: 'fast' } }));
export const publish = (run: Run) => publishToAll(s, run);

/** Looks, while events are published, whether the server is held up by somebody. */
export function watch(run: Run) {
  const before = signs();
  waitForStreams(s, run);
  const end = Date.now() + s.duration * 1000;
  let seen = 0;
  while (Date.now() < end) {
    const now = signs();
    const more = Math.max(now.blocked - before.blocked, 0) + now.actions - before.actions;
    before.actions = now.actions;
    seen += more;
    backpressure.add(more);
    sleep(Math.min(0.2, s.duration / 10));
  }
  if (seen === 0) {
    console.error(
      `this run tested nothing: none of its slow streams held the server up. The kernels' buffers took all of it: give a larger ` +
        `SIZE (${s.size}), RATE (${s.rate}) or DURATION (${s.duration}s), or a smaller RECEIVE_BUFFER (${receiveBuffer})`,
    );
  }
}

/** How many streams take nothing now, and how often the server has dealt with slow ones so far. */
function signs(): { blocked: number; actions: number } {
  const res = http.get(`${s.publishUrl}/metrics`, params(s, 'metrics'));
  if (res.status !== 200) exec.test.abort(`PUBLISH_URL=${s.publishUrl}: /metrics answers ${res.status}: ${res.error || res.body}`);
  let blocked = 0;
  let actions = 0;
  for (const line of String(res.body).split('\n')) {
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    if (line.startsWith('fanfare_connections_blocked ')) blocked += value;
    if (line.startsWith('fanfare_slow_actions_total{')) actions += value;
    if (line.startsWith('fanfare_connections_closed_total{reason="stalled"}')) actions += value;
  }
  return { blocked, actions };
}
export const handleSummary = summary('slow-consumer', 'do clients that read slowly hurt those that do not?', s);
