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
  | 'ERR_SSE_UNCERTAIN';

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
  /** What is wrong: key, data, event, id, retry, from or ssePool. */
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

/** app.sse */
export interface Sse extends EventEmitter {
  /**
   * Publishes to the subscribers of a key. The promise need not be awaited.
   * @throws SseCallError within a request, if the event cannot be encoded; elsewhere the promise is rejected with it
   */
  publish(key: string | number, data: string | SseEvent, options?: PublishOptions): Promise<Outcome<{ id: string; subscribers: number }>>;
  /** Publishes to the subscribers of all keys. */
  publishAll(data: string | SseEvent, options?: PublishOptions): Promise<Outcome<{ keys: number; subscribers: number }>>;
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
