/// <reference path="../../types/k6-x-sse.d.ts" />
// The k6 extension, or a clear error if it is missing. The scripts import it from here.
//
// It uses require and not import. For an import that stock k6 cannot resolve, it asks a build service on the internet for an
// extension with that name, or, offline, fails with the service's address. A missing module that is required is an empty object
// instead.
declare function require(name: string): any;

const sse: typeof import('k6/x/sse') = require('k6/x/sse');

if (typeof sse.EventSource !== 'function') {
  throw new Error(
    'this k6 has no k6/x/sse with EventSource: it is stock k6, or has another extension with that name. ' +
      'Build the one that these scripts need and run it instead: go build -C loadtest -o k6 . && loadtest/k6 run …',
  );
}

export const open = sse.open;
export const EventSource = sse.EventSource;
export const plan = sse.plan;
export type Stream = import('k6/x/sse').EventSource;
export type StreamOptions = import('k6/x/sse').EventSourceOptions;
