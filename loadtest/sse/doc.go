// Package sse is the k6 module k6/x/sse: event streams (WHATWG HTML 9.2, "Server-sent events") for load tests.
//
// EventSource opens a stream on k6's event loop; a VU may hold thousands. Each has one goroutine and one buffer of 4 KiB,
// and speaks HTTP/1.1 over a connection of its own: a load test wants each stream to cost the server what a browser's does.
// The environment's HTTP_PROXY, HTTPS_PROXY and NO_PROXY hold as for k6's own requests.
// open is the call of xk6-sse, which blocks the VU until the stream ends.
//
// # Who does what
//
//	goroutine of the stream   connect -> read -> parse, measure -> reporter (counts)
//	                                              \-> hub (events that JavaScript listens for)
//	event loop of the VU      hub -> listeners
//	goroutine of the hub      every 200 ms: reporter -> k6's samples
//
// Events that no script listens for never reach JavaScript: what is measured is measured in Go.
//
// A stream knows what it got, and not what it should have got. The publisher's plan does: publishers enter it in a ledger that all VUs
// share, and a stream that expects the ledger is reconciled with it as the last thing that it does.
//
// # Lifetimes
//
// A hub belongs to one iteration of one VU. It holds one callback of the event loop, so the iteration goes on, until its
// last stream has ended. The end of the iteration's context (gracefulStop, abort, Ctrl-C, an exception in the script) ends
// its streams at once, and JavaScript isn't called any more. The last samples are pushed before the callback is given back.
//
// Caveats: a stream's listeners and JavaScript values are touched on the event loop only; see the fields of source, stream
// and hub for who owns what.
package sse
