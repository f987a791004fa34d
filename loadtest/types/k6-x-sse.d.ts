// Types of the k6 module k6/x/sse. For an editor and tsc, name this file in tsconfig.json ("files") or in the script:
//   /// <reference path="../types/k6-x-sse.d.ts" />
// k6 itself strips types and does not need them.

declare module 'k6/x/sse' {
  /** Milliseconds, or text such as '1.5s'. */
  export type Duration = number | string;

  /** Where the payload (a JSON object) of an event has the measured values. Names may be paths, such as 'meta.seq'. */
  export interface Measure {
    /** A number that grows by one from event to event: sse_lost, sse_duplicate and sse_reordered. Without it they are not measured. */
    sequence?: string;
    /** When the event was published, since 1970: sse_event_latency. Without it latency is not measured. */
    timestamp?: string;
    /** The key to which a sequence belongs, if a stream has several sequences (up to 10,000). */
    key?: string;
    /** The unit of timestamp; 'us' (microseconds) by default. */
    unit?: 's' | 'ms' | 'us' | 'ns';
  }

  /** What a stream should get. */
  export interface Expectation {
    /**
     * The key that each event of type message has in its payload, at `measure.key` ('key' by default). Events with another key count
     * as sse_misrouted. Events that are cut off, or have no sequence or key, count as sse_malformed.
     */
    key: string;
    /** The ledger (see plan) of the events that are published on the key: sse_expected and sse_undelivered. */
    ledger?: string;
  }

  /** Options of both EventSource and open. */
  export interface CommonOptions {
    headers?: Record<string, string>;
    /** Sends `Authorization: Bearer <token>`. */
    token?: string;
    /** The tags of the stream's samples. */
    tags?: Record<string, string>;
    /** The tags `name` and `url` of the samples; by default the URL without the values of its query. */
    name?: string;
    /** An http.CookieJar for the stream's cookies; by default the VU's. */
    jar?: object;
    /** What is measured in events; by default `{ sequence: 'seq', timestamp: 'ts', unit: 'us' }`. false: only counts. */
    measure?: Measure | boolean;
    /** How long an attempt may take until the response's head; 60 s by default. */
    connectTimeout?: Duration;
    /**
     * Bytes of the socket's receive buffer; the system's choice by default. With a small one the server soon notices that the client
     * does not read. (Linux doubles it. TCP segments are then as large as those of a network, even on loopback.)
     */
    receiveBuffer?: number;
    /** The most bytes of an event's data, and of a line; 16 MiB by default. A longer one ends the stream permanently. */
    maxEventBytes?: number;
  }

  export interface EventSourceOptions extends CommonOptions {
    /** Last-Event-ID of the first request. */
    lastEventId?: string;
    /** Whether reconnecting sends the last event id; true by default. */
    withLastEventId?: boolean;
    /** Whether a lost or refused connection is tried again; true by default. Any response other than a stream with status 200 ends it permanently. */
    reconnect?: boolean;
    /** The number of attempts to reconnect; unlimited by default. */
    maxReconnects?: number;
    /** Pause before reconnecting, until the server sends another `retry:`; 3 s by default. Failed attempts double it. */
    retry?: Duration;
    /** The longest pause after failed attempts; 30 s by default. A longer retry is not shortened. */
    maxRetry?: Duration;
    /** 0 to 1: the pause is spread evenly by up to this share, up and down; 0 by default. */
    jitter?: number;
    /** What the stream should get. At its end it is compared with what the stream got. */
    expect?: Expectation;
    /** Slow consumer: a pause after each read of up to 4 KiB. The receive buffer is then 4 KiB, unless receiveBuffer is given. */
    readDelay?: Duration;
    /** Slow consumer: how many bytes are read per second. */
    readRate?: number;
    /** As in a browser; cookies are always sent. */
    withCredentials?: boolean;
  }

  export interface StreamStats {
    events: number;
    /** Sequence numbers that were skipped and have not arrived so far. */
    lost: number;
    /** Events whose sequence number had arrived before. */
    duplicate: number;
    /** Events that first arrived after one with a higher number. They are neither lost nor duplicates. */
    reordered: number;
    /** Events of another key than the expected one. */
    misrouted: number;
    /** Events that were expected to be complete and were not. */
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
    /** The origin of the stream's URL, after redirects. */
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
   * An event stream on the event loop, as in a browser (WHATWG HTML 9.2). A VU may have thousands. An open stream keeps the
   * iteration running. Events without a listener are measured, but never reach JavaScript. If the listeners of a stream are slower than
   * its events, the stream is not read until they have caught up. Until the script has returned to the event loop after the
   * constructor, streams are read, and listeners may miss events; then a warning says how many.
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
    /** The id that a reconnect would send now. */
    readonly lastEventId: string;
    /** The counts so far. */
    readonly stats: StreamStats;
    onopen: ((event: StreamEvent) => unknown) | null;
    /** For events without a name. Use addEventListener for others. */
    onmessage: ((event: MessageEvent) => unknown) | null;
    onerror: ((event: ErrorEvent) => unknown) | null;
    addEventListener(type: 'open', listener: (event: StreamEvent) => unknown, options?: { once?: boolean }): void;
    addEventListener(type: 'error', listener: (event: ErrorEvent) => unknown, options?: { once?: boolean }): void;
    addEventListener(type: string, listener: (event: MessageEvent) => unknown, options?: { once?: boolean }): void;
    removeEventListener(type: string, listener: (event: never) => unknown): void;
    close(): void;
    /**
     * Closes the stream when it has got everything that its ledger says it should have got by now, or after a time at most. An event
     * that is then missing was not just on its way.
     */
    leave(patience: Duration): void;
  }

  /** The schedule of a publisher, and what happens to it. */
  export interface Plan {
    /** Call it before a request with the next events, up to and not including event number `to` (counted from 0). */
    sending(to: number): void;
    /** Call it after the request. The argument says whether the server accepted the events. */
    answered(taken: boolean): void;
  }

  /**
   * Enters a schedule in a ledger, which all VUs of this process share: event n is number floor(n / keys.length) + 1, from 1, of
   * keys[n % keys.length], and is due at begin + n * interval (microseconds; begin since 1970). Streams that expect the ledger
   * get the events that were due while they were open and were never sent added to their latency. A key has one publisher.
   */
  export function plan(ledger: string, keys: string[], count: number, begin: number, interval: number): Plan;

  export interface OpenOptions extends CommonOptions {
    /** GET by default. */
    method?: string;
    body?: string;
    /** The longest duration of the whole stream; no limit by default. */
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
    /** The event's type; '' if the stream did not send one. */
    name: string;
    /** Its lines, joined by LF. */
    data: string;
    /** The last comment line since the previous event. */
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
   * made. It throws for invalid arguments, if a handler throws, and, with the option `throw` of k6, if there is no response. Unknown
   * options are logged and ignored. It also counts http_reqs and http_req_duration.
   */
  export function open(url: string, options: OpenOptions | null | undefined, setup: (client: Client) => void): OpenResponse;
  export function open(url: string, setup: (client: Client) => void): OpenResponse;

  const sse: { open: typeof open; EventSource: typeof EventSource; plan: typeof plan };
  export default sse;
}
