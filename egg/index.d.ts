/// <reference types="node" />
import { EventEmitter } from 'events';

/** Who sends an event: see "Several workers" in the README. */
export interface PublishOptions {
  /** 'auto' (default): by server.once.mode; 'this': this worker; 'leader': one worker for all. */
  from?: 'auto' | 'this' | 'leader';
}

/** An event. Falsy members are left out, except data. */
export interface SseEvent {
  /** The data: a string as it is (a comment if it begins with a colon), an object as its JSON text. */
  data?: unknown;
  /** The event's name. */
  event?: string | number;
  /** The event's id. */
  id?: string | number;
  /** The reconnection time in milliseconds. */
  retry?: string | number;
}

/** The outcome of a call: sent and answered by Fanfare, or left to another worker. */
export type Outcome<Answer> = ({ sent: true; late?: true } & Answer) | { sent: false; reason: string; worker?: string };

export type SseErrorCode =
  | 'ERR_SSE_QUEUE_FULL'
  | 'ERR_SSE_EXPIRED'
  | 'ERR_SSE_REFUSED'
  | 'ERR_SSE_CLOSED'
  | 'ERR_SSE_NO_LEADER'
  | 'ERR_SSE_UNCERTAIN'
  | 'ERR_SSE_AWAY';

/** Why an event was not published, or (ERR_SSE_UNCERTAIN) may not have been. */
export class SseError extends Error {
  constructor(code: SseErrorCode, message: string, more?: { cause?: unknown; status?: number; field?: string });
  code: SseErrorCode;
  /** Fanfare's HTTP status, if it gave one. */
  status?: number;
  /** The field, header or setting at fault. */
  field?: string;
  op?: 'publish' | 'publishAll' | 'close' | 'closeAll';
  key?: string;
}

/** An invalid call: thrown within a request; elsewhere the promise is rejected with it. */
export interface SseCallError extends TypeError {
  code: 'ERR_SSE_EVENT';
  /** What is wrong: key, data, event, id, retry, from, ssePool; keys, subject, ttl. */
  field: string;
  op?: string;
  key?: string;
}

/** What this worker has done and holds. */
export interface SseStats {
  published: number;
  failed: number;
  /** Left to another worker. */
  left: number;
  /** Neither answered nor given up yet. */
  waiting: number;
  waitingBytes: number;
  /** The worker that sends what happens in every worker. */
  leader: string | null;
  leads: boolean;
}

/** Who may subscribe, and who has: app.sse, and agent.sse, which has nothing else. */
export interface SseAccess {
  /**
   * Makes a token with which a page may subscribe: `new EventSource('/stream?connectKey=…&token=' + token)`.
   * @param keys keys, or patterns such as `user.42.*`
   * @param options.subject who it is for: see presence and disconnect
   * @param options.ttl milliseconds, or a time such as '15m'; 1 s to 24 h, by default 1 h
   */
  token(keys: string | number | Array<string | number>, options?: { subject?: string | number; ttl?: number | string }): Promise<{ token: string; expires: Date }>;
  /** Ends the streams of a subject. Resolves with how many there were. */
  disconnect(subject: string | number): Promise<number>;
  /** The subjects that have streams on a key. Streams without a subject count among the subscribers only. */
  presence(key: string | number): Promise<{ subscribers: number; subjects: Array<{ subject: string; streams: number }> }>;
}

/** What sse.server.authorize returns: whether, or for which keys (patterns), who, for how long, and how long Fanfare may keep this answer. */
export type SseGrant = boolean | { keys?: string[]; subject?: string | number; ttl?: number | string; cache?: number | string };

/** app.sse */
export interface Sse extends EventEmitter, SseAccess {
  /**
   * Publishes to the subscribers of a key. The promise need not be awaited. `stored: false`: the event waits in the memory of a
   * Fanfare whose broker is away (its setting `away: queue`).
   * @throws SseCallError within a request, if the event cannot be encoded; elsewhere the promise is rejected with it
   */
  publish(key: string | number, data: string | SseEvent, options?: PublishOptions): Promise<Outcome<{ id: string; subscribers: number; stored?: false }>>;
  /** Publishes to the subscribers of all keys. */
  publishAll(data: string | SseEvent, options?: PublishOptions): Promise<Outcome<{ keys: number; subscribers: number; stored?: false }>>;
  /** Ends the streams of a key. */
  close(key: string | number, options?: PublishOptions): Promise<Outcome<{ closed: number }>>;
  /** Ends all streams. */
  closeAll(options?: PublishOptions): Promise<Outcome<{ closed: number }>>;
  /** Subscribers of a key, as last reported. */
  count(key: string | number): number;
  /** All subscribers, as last reported. */
  countAll(): number;
  /** Subscribers of a key, asked now. */
  countAsync(key: string | number): Promise<number>;
  /** All subscribers, asked now. */
  countAllAsync(): Promise<number>;
  /** Resolves when what was published so far has been answered or given up. */
  flush(): Promise<void>;
  readonly stats: SseStats;

  on(event: 'error', listener: (err: SseError | SseCallError) => void): this;
  on(event: 'away', listener: (err: Error) => void): this;
  on(event: 'back', listener: () => void): this;
  on(event: 'takeover', listener: (what: { from: string; resent: number }) => void): this;
}

/** config.sse.server: see the README for defaults. */
export interface SseServerConfig {
  /** Fanfare's admin listener. With port 0 (the default) the Fanfare is this application's own. */
  admin?: string;
  /** Fanfare's stream listener. With `admin` at port 0: where the application's own Fanfare has its streams, 0 for a free port. */
  stream?: string;
  /** Fanfare's publishToken. One that the agent starts gets a random one if this is empty. */
  token?: string;
  /** Who may subscribe: see "Who may subscribe" in the README. Errors with status 401 or 403 deny; after others clients come back. */
  authorize?: boolean | 'tokens' | ((ctx: any, keys: string[]) => SseGrant | Promise<SseGrant>);
  /** Where a Fanfare that the agent starts asks the application; by default on the application's port. */
  callback?: string;
  /** `sse-authorize` in the authCallback of a Fanfare that the agent does not start. */
  callbackSecret?: string;
  mode?: 'proxy' | 'redirect' | 'off';
  publicStream?: string;
  once?: { mode?: 'auto' | 'leader' | 'every'; keep?: number; skew?: number; wait?: number };
  queue?: { maxEvents?: number; maxBytes?: number; maxAge?: number };
  batch?: { maxEvents?: number; maxBytes?: number };
  timeout?: number;
  closeTimeout?: number;
  uncertain?: 'report' | 'resend';
  count?: { refresh?: number; keep?: number; maxKeys?: number };
  start?: { enable?: 'auto' | false; binary?: string; ids?: 'off' | 'auto'; args?: string[]; readyTimeout?: number; stopTimeout?: number };
  dryRun?: boolean;
}

/** config.sse */
export interface SseConfig {
  enable?: boolean;
  path?: string;
  headers?: Record<string, string>;
  maxClients?: number;
  pingInterval?: number;
  cacheKey?: string;
  server?: SseServerConfig;
}

/**
 * The finished event that publish would send.
 * @throws SseCallError if there is none
 */
export function encode(data: string | SseEvent): string;
