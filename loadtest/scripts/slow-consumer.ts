// Do clients that read slowly affect the others?
//
// PERCENT (default 10) of the VUS x STREAMS streams pause for READ_DELAY (default 1s) after each 4 KiB that they read. Events
// have SIZE bytes (default 4000), so these streams fall behind at once. The other streams must get everything within P99. What
// happens to the slow ones depends on the server's policy (slow). They and their gaps are reported, but have no thresholds.
//
// Slow streams have a receive buffer of RECEIVE_BUFFER bytes (default 4096). With the default buffers, the kernels would buffer
// megabytes. If the server still does not notice them, by blocked streams in its /metrics, gaps or disconnects, nothing was
// tested and the run fails: give a larger SIZE, RATE or DURATION.
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
/** Signs that a slow stream blocked the server's writes. Without one, the kernels have buffered everything that it did not read. */
const backpressure = new Counter('backpressure');
if (s.streams * percent < 100) {
  throw new Error(`STREAMS=${s.streams}: ${percent} % of a VU's streams (PERCENT) is less than one: give at least ${Math.ceil(100 / percent)}`);
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
    // Otherwise no stream was slow. It counts bytes, because reading a single event may take longer than the run.
    'sse_data_received{consumer:slow}': ['count>0'],
    backpressure: ['count>0'], // otherwise the server never noticed
    'sse_event_latency{consumer:slow}': ['max>=0'], // always holds; it adds the metric to the summary
  },
  summaryTrendStats: trendStats,
};

/** Slow streams are spread over a VU's streams. The first stream is never slow. */
const isSlow = (j: number) => Math.floor(((j + 1) * percent) / 100) > Math.floor((j * percent) / 100);

export const setup = () => prepare(s);
export const subscribe = (run: Run) =>
  follow(s, run, (j) => (isSlow(j) ? { readDelay, receiveBuffer, tags: { consumer: 'slow' } } : { tags: { consumer: 'fast' } }));
export const publish = (run: Run) => publishToAll(s, run);

/** Checks, while events are published, whether slow streams block the server's writes. */
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
      `this run tested nothing: no slow stream blocked the server's writes, because the kernels buffered everything. Give a larger ` +
        `SIZE (${s.size}), RATE (${s.rate}) or DURATION (${s.duration}s), or a smaller RECEIVE_BUFFER (${receiveBuffer})`,
    );
  }
}

/** How many streams are blocked now, and how often the server has applied its policy for slow ones so far. */
function signs(): { blocked: number; actions: number } {
  const res = http.get(`${s.publishUrl}/metrics`, params(s, 'metrics'));
  if (res.status !== 200) exec.test.abort(`PUBLISH_URL=${s.publishUrl}: /metrics answered ${res.status}: ${res.error || res.body}`);
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
export const handleSummary = summary('slow-consumer', 'do clients that read slowly affect the others?', s);
