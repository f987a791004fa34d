// Types of the k6 module k6/x/sse. For an editor and tsc, name this file in tsconfig.json ("files") or in the script:
//   /// <reference path="../types/k6-x-sse.d.ts" />
// k6 itself strips types and needs none.

declare module 'k6/x/sse' {
  /** Milliseconds, or text such as '1.5s'. */
  export type Duration = number | string;

  /** Where the payload (a JSON object) of an event has what is measured. Names may be paths, such as 'meta.seq'. */
  export interface Measure {
    /** A number that grows by one from event to event: sse_lost, sse_duplicate and sse_reordered. Without it none is measured. */
    sequence?: string;
    /** When the event was published, since 1970: sse_event_latency. Without it latency isn't measured. */
    timestamp?: string;
    /** What a sequence belongs to, where a stream carries several (up to 10,000). */
    key?: string;
    /** Of timestamp; 'us' (microseconds) by default. */
    unit?: 's' | 'ms' | 'us' | 'ns';
  }

  /** What a stream should get. */
  export interface Expectation {
    /**
     * The key that each event of type message has in its payload, at `measure.key` ('key' by default). Events of another one are
     * sse_misrouted; those that are cut off, or have no sequence or key, are sse_malformed.
     */
    key: string;
    /** The ledger (see plan) of what is published on the key: sse_expected and sse_undelivered. */
    ledger?: string;
  }

  /** Options of both EventSource and open. */
  export interface CommonOptions {
    headers?: Record<string, string>;
    /** Sends `Authorization: Bearer <token>`. */
    token?: string;
    /** Tags of the stream's samples. */
    tags?: Record<string, string>;
    /** The tags `name` and `url` of the samples; by default the URL without the values of its query. */
    name?: string;
    /** Cookies are taken from and put into it; by default the VU's. An http.CookieJar. */
    jar?: object;
    /** What is measured of events; by default `{ sequence: 'seq', timestamp: 'ts', unit: 'us' }`. false: only counts. */
    measure?: Measure | boolean;
    /** How long an attempt may take until the response's head; 60 s by default. */
    connectTimeout?: Duration;
    /**
     * Bytes of the socket's receive buffer; the system's choice by default. With a small one the server notices soon that nobody
     * reads. (Linux doubles it; TCP segments are then as large as those of a network, on loopback too.)
     */
    receiveBuffer?: number;
    /** Bytes that an event's data, and a line, may have; 16 MiB by default. A longer one ends the stream for good. */
    maxEventBytes?: number;
  }

  export interface EventSourceOptions extends CommonOptions {
    /** Last-Event-ID of the first request. */
    lastEventId?: string;
    /** Whether reconnecting sends the last event id; true by default. */
    withLastEventId?: boolean;
    /** Whether a lost or refused connection is tried again; true by default. Any answer but a 200 stream ends it for good. */
    reconnect?: boolean;
    /** How many attempts to reconnect the stream has; any number by default. */
    maxReconnects?: number;
    /** Pause before reconnecting, until the server says another `retry:`; 3 s by default. Failed attempts double it. */
    retry?: Duration;
    /** How long failed attempts may make the pause; 30 s by default. A longer retry stays as it is. */
    maxRetry?: Duration;
    /** 0 to 1: the pause is spread evenly by up to this share, up and down; 0 by default. */
    jitter?: number;
    /** What the stream should get; it then reconciles itself at its end. */
    expect?: Expectation;
    /** Slow consumer: a pause after each read of up to 4 KiB. The receive buffer is 4 KiB unless receiveBuffer says another. */
    readDelay?: Duration;
    /** Slow consumer: how many bytes a second are read. */
    readRate?: number;
    /** As in a browser; cookies are always sent. */
    withCredentials?: boolean;
  }

  export interface StreamStats {
    events: number;
    /** Sequence numbers that were passed over and haven't come so far. */
    lost: number;
    /** Events whose sequence number had come before. */
    duplicate: number;
    /** Events that came after one with a higher number, for the first time: they are neither lost nor duplicates. */
    reordered: number;
    /** Events of another key than the expected one. */
    misrouted: number;
    /** Events that were expected to be whole, and weren't. */
    malformed: number;
    /** How often the stream was opened again. */
    reconnects: number;
    bytes: number;
  }

  export interface StreamEvent {
    readonly type: string;
    readonly target: EventSource;
    /** Milliseconds since 1970. */
    readonly timeStamp: number;
  }

  export interface MessageEvent extends StreamEvent {
    readonly data: string;
    readonly lastEventId: string;
    /** Of the URL that the stream came from, after redirects. */
    readonly origin: string;
  }

  export interface ErrorEvent extends StreamEvent {
    readonly message: string;
    /** Of the response; 0 without one. */
    readonly status: number;
    /** The stream is closed; otherwise it is about to reconnect. */
    readonly fatal: boolean;
  }

  /**
   * An event stream on the event loop, as in a browser (WHATWG HTML 9.2): a VU may have thousands. An open one keeps the
   * iteration alive. Events without a listener are measured, but never reach JavaScript. A stream whose listeners are
   * slower than its events isn't read until they have caught up. While the script hasn't returned to the event loop since the
   * constructor, streams are read on, and listeners may miss events; then a warning says how many.
   */
  export class EventSource {
    constructor(url: string, options?: EventSourceOptions);
    static readonly CONNECTING: 0;
    static readonly OPEN: 1;
    static readonly CLOSED: 2;
    readonly CONNECTING: 0;
    readonly OPEN: 1;
    readonly CLOSED: 2;
    readonly url: string;
    readonly readyState: 0 | 1 | 2;
    readonly withCredentials: boolean;
    /** What a reconnect would send now. */
    readonly lastEventId: string;
    /** So far. */
    readonly stats: StreamStats;
    onopen: ((event: StreamEvent) => unknown) | null;
    /** Of events without a name; for others there is addEventListener. */
    onmessage: ((event: MessageEvent) => unknown) | null;
    onerror: ((event: ErrorEvent) => unknown) | null;
    addEventListener(type: 'open', listener: (event: StreamEvent) => unknown, options?: { once?: boolean }): void;
    addEventListener(type: 'error', listener: (event: ErrorEvent) => unknown, options?: { once?: boolean }): void;
    addEventListener(type: string, listener: (event: MessageEvent) => unknown, options?: { once?: boolean }): void;
    removeEventListener(type: string, listener: (event: never) => unknown): void;
    close(): void;
    /**
     * Closes the stream when it has got all that its ledger says it should have by now, or after a time at most. What it lacks then
     * was not merely on its way.
     */
    leave(patience: Duration): void;
  }

  /** The schedule of a publisher, and what becomes of it. */
  export interface Plan {
    /** Call it before a request with the next events, up to event number `to` (from 0), which isn't one of them. */
    sending(to: number): void;
    /** Call it after the request: whether the server has taken the events. */
    answered(taken: boolean): void;
  }

  /**
   * Enters a schedule in a ledger, which all VUs of this process share: event n is number floor(n / keys.length) + 1, from 1, of
   * keys[n % keys.length], and is due at begin + n * interval (microseconds; begin since 1970). Streams that expect the ledger
   * are charged, as latency, for what was due while they lived and was never sent. A key has one publisher.
   */
  export function plan(ledger: string, keys: string[], count: number, begin: number, interval: number): Plan;

  export interface OpenOptions extends CommonOptions {
    /** GET by default. */
    method?: string;
    body?: string;
    /** How long the stream may last as a whole; no limit by default. */
    timeout?: Duration;
  }

  export interface OpenResponse {
    url: string;
    /** 0 without a response. */
    status: number;
    headers: Record<string, string>;
    /** '' unless the stream failed. */
    error: string;
  }

  export interface OpenEvent {
    /** The last event id as of this event. */
    id: string;
    /** The event's type; '' if the stream gave none. */
    name: string;
    /** Its lines, joined by LF. */
    data: string;
    /** The last comment line since the event before. */
    comment: string;
  }

  export interface OpenError {
    readonly message: string;
    /** Of the response; 0 without one. */
    readonly status: number;
    /** The message, as in xk6-sse. */
    error(): string;
  }

  export interface Client {
    on(type: 'open', handler: () => unknown): void;
    on(type: 'event', handler: (event: OpenEvent) => unknown): void;
    on(type: 'error', handler: (error: OpenError) => unknown): void;
    /** After a stream that was open. */
    on(type: 'close', handler: () => unknown): void;
    close(): void;
  }

  /**
   * Opens a stream and blocks the VU until it has ended: the call of xk6-sse. `setup` is called before the connection is
   * made. It throws for invalid arguments, for what a handler throws, and, with the option `throw` of k6, where there is no
   * response. Options that don't exist are logged and ignored. It counts http_reqs and http_req_duration, too.
   */
  export function open(url: string, options: OpenOptions | null | undefined, setup: (client: Client) => void): OpenResponse;
  export function open(url: string, setup: (client: Client) => void): OpenResponse;

  const sse: { open: typeof open; EventSource: typeof EventSource; plan: typeof plan };
  export default sse;
}
