// Package transport serves the streams of an [engine.Engine] as Server-Sent Events (WHATWG HTML 9.2), and the API that
// publishes to them.
//
// A [Server] has three faces. [Server.Serve] is for many streams: fasthttp reads the request, and then the connection is
// the server's own. [Server.Handler] is the same streams for net/http, and so for HTTP/2 and for programs that have such
// a server already. [Server.ServeAdmin] is the publish API, health and metrics, on a listener of its own.
//
// # A stream on the wire
//
//	GET /stream?connectKey=news&connectKey=sport
//	Last-Event-ID: hofi1upedr4c-41,k2v9p0q7ab31-7
//
//	HTTP/1.1 200 OK
//	Content-Type: text/event-stream
//	…
//
//	retry: 3000                                if Options.Retry is set
//
//	event: position                            where the stream begins: no page's onmessage sees it
//	data:
//	id: hofi1upedr4c-41,k2v9p0q7ab31-7
//
//	data: text
//	id: hofi1upedr4c-42,k2v9p0q7ab31-7             on one key: the event's own id
//
//	:                                          after Options.PingInterval without anything else
//
// What cannot be replayed, or what a slow client has missed, is told and never left out:
//
//	event: gap
//	data: {"key":"news","reason":"history","missed":49,"after":"hofi1upedr4c-41","next":"hofi1upedr4c-90"}
//	id: hofi1upedr4c-90,k2v9p0q7ab31-7
//
// The head goes out at once, before there is an event. A stream that begins with a gap has no position in front of it:
// the client keeps the id that it came with until the gap has arrived, so that a connection lost in between loses
// nothing. With [Options.PlainIDs] the position is left out, a gap has no id, and an id comes before the data, as with egg-sse.
//
// # Who owns a socket
//
// Until its request is read a connection is fasthttp's, or net/http's. Then it is its stream's. Who may write to it is
// decided by the subscriber's state word, see package engine: its owner is the waker that found the subscriber idle,
// which writes without blocking, or the stream's goroutine, which the waker starts when the socket is full or the stream
// ends, and which ends when everything is written. Only the goroutine closes the socket. Nobody else touches it, but to
// set a write deadline that unblocks the goroutine, and to discard what the client sends behind its request.
//
// # Caveats
//
// The engine is the caller's: close it after the server.
//
// A client that closes its sending side counts as gone, as EventSource never does that. On a listener of Serve that is
// noticed at once. Behind net/http it is noticed at once too, unless the client has sent something behind its request:
// then with the next heartbeat that cannot be written.
//
// A stream behind net/http costs that server's goroutines and buffers, about ten times the memory of one of Serve, and
// its Shutdown waits for streams: call [Server.Drain], which ends them, first.
//
// The publish API trusts who reaches it if there is no Options.PublishToken: ServeAdmin then refuses names in the Host
// field other than localhost, and browsers' pages other than its own, but not other machines. Listen on loopback, or set a token.
//
// [Server.Publish] has encoded and copied the event when it returns, and has not waited for a subscriber. It may be
// called from any goroutine; events of one key are delivered in the order in which the calls were made only if they
// were made one after another.
//
// A frame that a publisher sent as text/event-stream keeps its own id on streams of one key. On streams of several keys
// every id is replaced by the positions of all of them, or a client could not resume each.
//
// Ids that a client sends are cut to 4096 bytes (more on streams of many keys); an event whose own id is longer cannot
// be resumed from.
package transport
