// The publisher of a run: an open loop, that is one whose schedule stands before it starts.
import exec from 'k6/execution';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { plan as enter } from './extension.ts';
import { keyName, publishBatch, Run, waitForStreams } from './server.ts';
import { Settings, total } from './settings.ts';

/** The event that tells a stream how many events there were on its key. */
export const endEvent = 'run-end';

const maxBatch = 500; // events of a request

const published = new Counter('events_published'); // that the server has taken
/** Events of the schedule that were not sent in time, because requests before them took too long. */
const unsent = new Counter('events_unsent');
/** Events that were sent, and about which the server said nothing in time. */
const unanswered = new Counter('events_unanswered');
/** Events that the server answered, but didn't take. */
const refused = new Counter('events_refused');
/** Publishers that came to the end of their schedule: one that hangs and is stopped would count nothing. */
const finished = new Counter('publishers_finished');
const behind = new Trend('publish_behind', true);

/** Microseconds since 1970. Date has milliseconds only; the time since the test's start is finer. */
class Clock {
  private readonly zero: number;

  constructor() {
    const tick = Date.now();
    let now = tick;
    while (now === tick) now = Date.now(); // a millisecond at most
    this.zero = now * 1000 - exec.instance.currentTestRunDuration * 1000;
  }

  now(): number {
    return Math.round(this.zero + exec.instance.currentTestRunDuration * 1000);
  }
}

export interface Plan {
  rate: number; // events a second, of all its keys together
  keys: number[]; // their indices; events go to them in turn
  streams: number; // that must be open before the first event
}

/** Publishes at the script's RATE to all KEYS, once all streams are open. */
export function publishToAll(s: Settings, run: Run, rate = s.rate) {
  publishPlan(s, run, { rate, keys: Array.from({ length: s.keys }, (_, i) => i), streams: total(s) });
}

export function publishPlan(s: Settings, run: Run, plan: Plan) {
  const open = waitForStreams(s, run, plan.streams);
  const all = check(open, { 'all streams were open before the first event': (n) => n >= plan.streams });
  if (!all) console.error(`only ${open} of ${plan.streams} streams were open after ${s.connectTime} s (CONNECT_TIME)`);

  const count = Math.max(1, Math.round(plan.rate * s.duration));
  const counts = publishPaced(s, run, plan, count);
  const ends = plan.keys.map((key, i) =>
    JSON.stringify({ key: keyName(run, key), event: endEvent, data: { published: counts[i] } }),
  );
  while (ends.length > 0) {
    const outcome = publishBatch(s, ends.splice(0, maxBatch), 'publish-end', s.drain / 4);
    check(outcome, { 'the end was published': (o) => o === 'taken' });
    if (outcome === 'unanswered') break; // the others would only hang, too
  }
  finished.add(1);
}

/** Publishes count events and returns how many of each key the server has taken. */
function publishPaced(s: Settings, run: Run, plan: Plan, count: number): number[] {
  const clock = new Clock();
  const counts: number[] = new Array(plan.keys.length).fill(0);
  const names = plan.keys.map((key) => keyName(run, key));
  const quoted = names.map((name) => JSON.stringify(name));
  const interval = 1e6 / plan.rate;
  const begin = clock.now() + 100_000;
  const giveUp = begin + (s.duration + s.drain / 2) * 1e6;
  const ledger = enter(run.name, names, count, begin, interval);
  let free = 0; // when the last request was answered
  let n = 0;
  while (n < count) {
    let now = clock.now();
    if (now >= giveUp) break;
    if (now < begin + n * interval) {
      sleep((begin + n * interval - now) / 1e6);
      now = Math.max(clock.now(), begin + n * interval);
    }
    const first = n;
    const lines: string[] = [];
    for (; n < count && lines.length < maxBatch && begin + n * interval <= now; n++) {
      // An event that the server held up, by an answer that took long, counts from when it was due (no coordinated
      // omission). One that was late because a timer was counts from now: that isn't the server's doing.
      const due = begin + n * interval;
      const ts = Math.round(due < free ? due : now);
      const i = n % names.length;
      lines.push(`{"key":${quoted[i]},"data":${payload(quoted[i], Math.floor(n / names.length) + 1, ts, s.size)}}`);
      behind.add((now - due) / 1000);
    }
    ledger.sending(n);
    const outcome = publishBatch(s, lines, 'publish', Math.max(0.5, (giveUp - now) / 1e6));
    ledger.answered(outcome === 'taken');
    if (outcome === 'taken') {
      published.add(lines.length);
      for (let taken = first; taken < n; taken++) counts[taken % names.length]++;
    } else (outcome === 'refused' ? refused : unanswered).add(lines.length);
    free = clock.now();
  }
  if (n < count) {
    console.error(`${count - n} of ${count} events were not sent: the publish route took too long`);
    unsent.add(count - n);
    // They are as late as the publisher was when it gave up. Streams are charged for them by the ledger.
    const now = clock.now();
    for (; n < count; n++) behind.add((now - (begin + n * interval)) / 1000);
  }
  return counts;
}

/** The data of an event, padded to size bytes. key is its JSON. */
export function payload(key: string, seq: number, ts: number, size: number): string {
  const bare = `{"seq":${seq},"ts":${ts},"key":${key}}`;
  const pad = size - bare.length - ',"pad":""'.length;
  return pad < 0 ? bare : `${bare.slice(0, -1)},"pad":"${'x'.repeat(pad)}"}`;
}

/**
 * What the publishers of a run must satisfy. Of several generators (RUN) one publishes, and the others have nothing to show.
 */
export function publisherThresholds(s: Settings, publishers = 1): Record<string, string[]> {
  return {
    checks: ['rate==1'],
    events_published: [s.run ? 'count>=0' : 'count>0'],
    events_unsent: ['count==0'],
    events_unanswered: ['count==0'],
    events_refused: ['count==0'],
    publishers_finished: [s.run ? 'count>=0' : `count==${publishers}`],
    dropped_iterations: ['count==0'],
    'http_req_failed{name:publish}': ['rate==0'],
    'http_req_duration{name:publish}': ['p(99)<1000'],
    publish_behind: ['p(99)<1000'], // otherwise RATE wasn't reached
  };
}
