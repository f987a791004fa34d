// The environment variables of all scripts. Mistakes are reported before the test starts.
declare const __ENV: Record<string, string>;

export interface Settings {
  baseUrl: string; // BASE_URL: the stream listener, or the proxy in front of it
  publishUrl: string; // PUBLISH_URL: the admin listener
  path: string; // STREAM_PATH: of the streams
  token: string; // TOKEN: of the admin listener (publishToken)
  streamToken: string; // STREAM_TOKEN: of the streams, if a proxy requires one
  vus: number; // VUS: how many VUs hold streams
  streams: number; // STREAMS: of each VU
  keys: number; // KEYS: stream i is on key i modulo KEYS
  duration: number; // DURATION, seconds
  rate: number; // RATE: events or connections per second, depending on the script
  size: number; // SIZE: bytes of an event's data
  p99: number; // P99: limit for the 99th percentile of the script's latency, in milliseconds
  connectRate: number; // CONNECT_RATE: streams opened per second
  connectTime: number; // CONNECT_TIME, seconds: all streams must be open by then
  drain: number; // DRAIN, seconds: events that are on their way at the end must have arrived by then
  run: string; // RUN: the name of the run, and the beginning of its keys; needed with several generators
  report: string; // REPORT: the summary is written to REPORT.txt and REPORT.json
}

/** A script's values for variables that are not set. */
export interface Defaults {
  vus: number;
  streams: number;
  duration: string;
  rate: number;
  keys?: number; // default: as many as streams
  size?: number;
  p99: number;
  connectRate?: number;
}

export function settings(d: Defaults): Settings {
  const vus = whole('VUS', d.vus, 1, 100_000);
  const streams = whole('STREAMS', d.streams, 1, 100_000);
  const connectRate = whole('CONNECT_RATE', d.connectRate ?? 1000, 1, 1_000_000);
  return {
    baseUrl: address('BASE_URL', 'http://127.0.0.1:8080'),
    publishUrl: address('PUBLISH_URL', 'http://127.0.0.1:8081'),
    path: text('STREAM_PATH', '/stream'),
    token: text('TOKEN', ''),
    streamToken: text('STREAM_TOKEN', ''),
    vus,
    streams,
    keys: whole('KEYS', d.keys ?? vus * streams, 1, 10_000_000),
    duration: seconds('DURATION', d.duration),
    rate: whole('RATE', d.rate, 1, 1_000_000),
    size: whole('SIZE', d.size ?? 64, 0, 1 << 20),
    p99: whole('P99', d.p99, 1, 3_600_000),
    connectRate,
    connectTime: seconds('CONNECT_TIME', `${Math.ceil((vus * streams) / connectRate) + 15}s`),
    drain: seconds('DRAIN', '10s'),
    run: text('RUN', ''),
    report: text('REPORT', ''),
  };
}

/** How many streams a run has, on all generators. */
export function total(s: Settings): number {
  return s.vus * s.streams;
}

export function text(name: string, otherwise: string): string {
  return __ENV[name] || otherwise;
}

export function whole(name: string, otherwise: number, least: number, most: number): number {
  const value = __ENV[name];
  if (!value) return otherwise;
  const n = Number(value);
  if (!Number.isInteger(n) || n < least || n > most) {
    throw new Error(`${name}=${value}: give a whole number from ${least} to ${most}`);
  }
  return n;
}

/** A duration such as 500ms, 30s, 1m30s or 8h. */
export function seconds(name: string, otherwise: string): number {
  const value = __ENV[name] || otherwise;
  const units: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600 };
  let sum = 0;
  const rest = value.replace(/(\d+(?:\.\d+)?)(ms|s|m|h)/g, (_, n, unit) => {
    sum += Number(n) * units[unit];
    return '';
  });
  if (rest !== '' || sum <= 0) {
    throw new Error(`${name}=${value}: give a duration with a unit, such as 500ms, 30s, 1m30s or 8h`);
  }
  return sum;
}

function address(name: string, otherwise: string): string {
  const value = text(name, otherwise).replace(/\/+$/, '');
  if (!/^https?:\/\/[^/?#]+/.test(value)) {
    throw new Error(`${name}=${value}: give a URL that begins with http:// or https://`);
  }
  return value;
}
