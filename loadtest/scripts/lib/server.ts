// Fanfare's publish API, and the setup of every script.
import http from 'k6/http';
import { sleep } from 'k6';
import { Settings, total } from './settings.ts';

/** The result of setup, which k6 passes to every VU, because VUs do not share variables. */
export interface Run {
  name: string;
}

/** The setup of a run checks that the server is running and accepts the token. Its time is not part of the test. */
export function setup(s: Settings): Run {
  const ready = http.get(`${s.publishUrl}/readyz`, { tags: { name: 'setup' } });
  if (ready.status !== 200) {
    throw new Error(
      `PUBLISH_URL=${s.publishUrl}: ${ready.error || `/readyz answered ${ready.status}`}. Start Fanfare first ` +
        '(go run ./cmd/fanfare), and give the address of its admin listener here.',
    );
  }
  const count = http.get(`${s.publishUrl}/countAll`, params(s, 'setup'));
  if (count.status === 401) {
    throw new Error(`PUBLISH_URL=${s.publishUrl} requires a token: give TOKEN, its publishToken (FANFARE_PUBLISH_TOKEN)`);
  }
  if (count.status !== 200) {
    throw new Error(`PUBLISH_URL=${s.publishUrl}: /countAll answered ${count.status}: ${count.body}`);
  }
  const health = http.get(`${s.baseUrl}/healthz`, { tags: { name: 'setup' } });
  if (health.status === 0) {
    throw new Error(`BASE_URL=${s.baseUrl}: ${health.error}. Give the address of the stream listener here.`);
  }
  return { name: s.run || `k6-${Date.now().toString(36)}` };
}

/** The name of a key of the run. */
export function keyName(run: Run, index: number): string {
  return `${run.name}-${index}`;
}

export function streamUrl(s: Settings, key: string): string {
  return `${s.baseUrl}${s.path}?connectKey=${encodeURIComponent(key)}`;
}

/** Parameters of a request to the admin listener. With the name, URLs with different keys are one time series. */
export function params(s: Settings, name: string, type = 'application/json') {
  const headers: Record<string, string> = { 'Content-Type': type };
  if (s.token) headers.Authorization = `Bearer ${s.token}`;
  return { headers, tags: { name }, timeout: '10s' };
}

export function publish(s: Settings, key: string, event: object) {
  return http.post(`${s.publishUrl}/publish?key=${encodeURIComponent(key)}`, JSON.stringify(event), params(s, 'publish'));
}

/** The result of a publish request: all events were accepted, some were refused, or there was no answer in time. */
export type Outcome = 'accepted' | 'refused' | 'unanswered';

/** Publishes lines {"key":…,"data":…} in one request. timeout is in seconds. */
export function publishBatch(s: Settings, lines: string[], name = 'publish', timeout = 10): Outcome {
  const p = params(s, name, 'application/x-ndjson');
  const res = http.post(`${s.publishUrl}/batch`, lines.join('\n'), { ...p, timeout: `${Math.ceil(timeout * 1000)}ms` });
  if (res.status === 0) return 'unanswered';
  return res.status === 200 && !String(res.body).includes('"error"') ? 'accepted' : 'refused';
}

/** Like publishBatch, but returns only whether all events were accepted. */
export function publishLines(s: Settings, lines: string[], name = 'publish'): boolean {
  return publishBatch(s, lines, name) === 'accepted';
}

/** Ends all streams of a key; their clients reconnect. Returns how many there were. */
export function closeKey(s: Settings, key: string): number {
  const res = http.post(`${s.publishUrl}/close?key=${encodeURIComponent(key)}`, null, params(s, 'close'));
  if (res.status !== 200) throw new Error(`/close answered ${res.status}: ${res.error || res.body}`);
  return (res.json() as { closed: number }).closed;
}

/** How many streams of the run are open. With more keys than /keys lists, it is the number of all streams of the server. */
export function openStreams(s: Settings, run: Run): number {
  if (s.keys > 1000) {
    return (http.get(`${s.publishUrl}/countAll`, params(s, 'count')).json() as { count: number }).count;
  }
  const res = http.get(`${s.publishUrl}/keys?top=1000`, params(s, 'count'));
  const { top } = res.json() as { top: { key: string; subscribers: number }[] };
  let n = 0;
  for (const k of top) if (k.key.startsWith(`${run.name}-`)) n += k.subscribers;
  return n;
}

/** Waits until all streams are open, or connectTime is over. Returns how many are open. */
export function waitForStreams(s: Settings, run: Run, expected = total(s)): number {
  const deadline = Date.now() + s.connectTime * 1000;
  for (;;) {
    const n = openStreams(s, run);
    if (n >= expected || Date.now() > deadline) return n;
    sleep(0.2);
  }
}
