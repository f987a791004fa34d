// Do clients that read slowly hurt those that don't?
//
// PERCENT (default 10) of the VUS x STREAMS streams pause for READ_DELAY (default 1s) after each 4 KiB that they read. Events
// are SIZE bytes (default 4000), so they fall behind at once. Those that read must get everything within P99; what becomes
// of the others is the server's policy (slow): they are reported, and the gaps that it told them of, but nothing is demanded.
//
//   PERCENT=20 SIZE=16000 RATE=100 loadtest/k6 run loadtest/scripts/slow-consumer.ts
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { Run, setup as prepare } from './lib/server.ts';
import { seconds, settings, whole } from './lib/settings.ts';
import { scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 20, keys: 1, rate: 50, size: 4000, duration: '20s', p99: 1000 });
const percent = whole('PERCENT', 10, 1, 90);
const readDelay = seconds('READ_DELAY', '1s') * 1000;
if (s.streams * percent < 100) {
  throw new Error(`STREAMS=${s.streams}: ${percent} % of a VU's streams (PERCENT) is less than one; give at least ${Math.ceil(100 / percent)}`);
}

const strict = streamThresholds(s, s.vus * (s.streams - Math.floor((s.streams * percent) / 100)));

export const options = {
  scenarios: scenarios(s),
  thresholds: {
    ...publisherThresholds(s),
    sse_connect_success: strict.sse_connect_success,
    streams_followed: strict.streams_followed,
    'stream_complete{consumer:fast}': strict.stream_complete,
    'sse_lost{consumer:fast}': strict.sse_lost,
    'sse_duplicate{consumer:fast}': strict.sse_duplicate,
    'sse_event_latency{consumer:fast}': strict['sse_event_latency{phase:live}'],
    'sse_disconnects{consumer:fast}': ['count==0'],
    'sse_event{consumer:slow}': ['count>0'], // otherwise nobody was slow
    'sse_event_latency{consumer:slow}': ['max>0'], // so that the summary has it
  },
  summaryTrendStats: trendStats,
};

/** Slow streams are spread over a VU's streams; the first is never one. */
const isSlow = (j: number) => Math.floor(((j + 1) * percent) / 100) > Math.floor((j * percent) / 100);

export const setup = () => prepare(s);
export const subscribe = (run: Run) =>
  follow(s, run, (j) => (isSlow(j) ? { readDelay, tags: { consumer: 'slow' } } : { tags: { consumer: 'fast' } }));
export const publish = (run: Run) => publishToAll(s, run);
export const handleSummary = summary('slow-consumer', 'do clients that read slowly hurt those that do not?', s);
