// Package transport serves the streams of an [engine.Engine] as Server-Sent
// Events (WHATWG HTML 9.2), and the HTTP API that publishes to them.
//
// Make a server over an engine, open a listener, and publish:
//
//	eng := engine.New(engine.Options{})
//	srv, err := transport.NewServer(eng, transport.Options{})
//	ln, err := transport.Listen(ctx, ":8080")
//	go srv.Serve(ln)
//	srv.Publish("news", codec.Event{Data: []byte("hello")})
//
// A browser subscribes by new EventSource("/stream?connectKey=news"). A key is
// what other systems call a topic or a channel.
//
// A Server has three faces. [Server.Serve] is for many streams: fasthttp reads
// the request, and then the connection is the server's own. [Server.Handler]
// serves the same streams through net/http, and so over HTTP/2, for programs that
// have such a server already. [Server.ServeAdmin] serves the publish API, health
// and metrics on a listener of its own. End a server by [Server.Drain], then
// [Server.Close].
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
//	retry: 3000                                    if Options.Retry is set
//
//	event: position                                where the stream begins: no page's onmessage sees it
//	data:
//	id: hofi1upedr4c-41,k2v9p0q7ab31-7
//
//	data: text
//	id: hofi1upedr4c-42,k2v9p0q7ab31-7             with one key: the event's own id
//
//	:                                              after Options.PingInterval without anything else
//
// What cannot be replayed, or what a slow client has missed, is reported and
// never left out:
//
//	event: gap
//	data: {"key":"news","reason":"history","missed":49,"after":"hofi1upedr4c-41","next":"hofi1upedr4c-90"}
//	id: hofi1upedr4c-90,k2v9p0q7ab31-7
//
// The head is sent at once, before there is an event. A stream that begins with a
// gap sends no position first: the client keeps the id that it came with until
// the gap has arrived, so a connection lost in between loses nothing. With
// Options.PlainIDs there is no position, a gap has no id, and an id comes before
// the data, as with egg-sse.
//
// # A fleet
//
// Several servers are one fleet with Options.Backplane, a node of package cluster:
// what is published at one is stored in a log that all of them read, so a client
// resumes at any of them. Make the engine with engine.Options.Log, then the node,
// then the server, and open the listeners when the node has read the log:
//
//	eng := engine.New(engine.Options{Log: &engine.LogOptions{}})
//	node, err := cluster.NewNode(cluster.Options{Name: "a", Engine: eng, Log: log, Bus: bus})
//	srv, err := transport.NewServer(eng, transport.Options{Backplane: node})
//	node.Start()
//	err = node.Settled(ctx)
//	go srv.Serve(ln)
//
// In the end close the server, the node, the log and the engine, in this order.
//
// Server.Publish then returns when the log has stored the event, or with an error
// of package cluster. [Server.PublishMessages] publishes many events at once, and
// gives each a message ID by which a repetition is recognized. A stream that comes
// back from where the rings do not reach waits, without a goroutine, until its
// events were fetched from the log; if that fails it gets a gap.
//
// # Caveats
//
// The engine is the caller's: close it after the server.
//
// A client that closes its sending side counts as gone, since an EventSource
// never does that. A listener of Serve notices at once. So does net/http, unless
// the client has sent something after its request: then the next heartbeat fails.
//
// A stream through net/http costs the goroutines and buffers of that server,
// about ten times the memory of a stream of Serve. An http.Server's Shutdown
// waits for streams: call Server.Drain, which ends them, first.
//
// Without Options.PublishToken the publish API trusts everybody who reaches it.
// ServeAdmin then refuses names in the Host field other than localhost, and
// browsers' pages other than its own, but not other machines. Listen on loopback,
// or set a token.
//
// Server.Publish has encoded and copied the event when it returns, and has not
// waited for a subscriber; with a Backplane it has waited for the log. It may be
// called from any goroutine. Events of one key
// arrive in the order of the calls only if each call began after the one before
// had returned.
//
// A frame that a publisher sent as text/event-stream keeps its own id on streams
// with one key. On streams with several keys the positions of all keys replace
// every id, since a client could not resume each key otherwise.
//
// Ids that a client sends are cut to 4096 bytes (more on streams with many
// keys). An event with a longer id of its own cannot be resumed from.
//
// # Rooms
//
// This package has the Server, its options and life cycle, and both front ends,
// which turn requests into streams. The rest has rooms of its own below internal:
//
//	stream     one connection: subscription, write path, heartbeat, end; and the hub of all streams
//	socket     sockets without Go's poller: accepting, reading, writing, hang-ups, by one epoll instance
//	api        publish API, batches, counts, health, metrics, the built-in page
//	gate       origins of pages (CORS), client addresses, keys
//	metrics    the figures of a server
//	clientlog  what the log says about clients: rate-limited and cut
//
// # Who owns a socket
//
// Until its request is read a connection belongs to the goroutine of fasthttp or
// net/http that reads it, and then to its stream. Who may write to it is decided by the subscriber's state
// word, see package engine. Its owner is the waker that found the subscriber
// idle, which writes without blocking, or the stream's goroutine. The waker
// starts the goroutine when the socket is full or the stream ends, and the
// goroutine ends when everything is written. Only the goroutine closes the
// socket. Nobody else touches it, except to set a write deadline that unblocks the
// goroutine, and to discard what the client sends after its request.
package transport
