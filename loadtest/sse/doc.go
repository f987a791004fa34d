// Package sse is the k6 module k6/x/sse: event streams (WHATWG HTML 9.2, "Server-sent events") for load tests. A script uses it
// like this:
//
//	import { EventSource } from 'k6/x/sse';
//
//	export default function () {
//	  const stream = new EventSource('http://127.0.0.1:8080/stream?connectKey=news');
//	  stream.onmessage = (e) => console.log(e.data);
//	  setTimeout(() => stream.close(), 10_000);
//	}
//
// EventSource opens a stream on k6's event loop. A VU can hold thousands. Each has one goroutine and one buffer of 4 KiB, and its
// own HTTP/1.1 connection, so that it costs the server as much as a browser's stream. HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the
// environment apply as to k6's own requests. open is the call of xk6-sse, which blocks the VU until the stream ends.
//
// # Who does what
//
//	goroutine of the stream   connect -> read -> parse, measure -> reporter (counts)
//	                                              \-> hub (events that JavaScript listens for)
//	event loop of the VU      hub -> listeners
//	goroutine of the hub      every 200 ms: reporter -> k6's samples
//
// Events without a listener never reach JavaScript. All measurements are made in Go.
//
// A stream knows what it got, but not what it should have got. The publisher's plan does. Publishers enter it in a ledger that
// all VUs share, and a stream that expects the ledger is compared with it at the end.
//
// # Lifetimes
//
// A hub belongs to one iteration of one VU. It holds one callback of the event loop, which keeps the iteration running until the
// last stream has ended. The end of the iteration's context (gracefulStop, abort, Ctrl-C, an exception in the script) ends the
// streams at once, and JavaScript is no longer called. The last samples are pushed before the callback is released.
//
// Caveats: the listeners of a stream and JavaScript values are used on the event loop only. The fields of source, stream and hub
// say who owns them.
package sse
