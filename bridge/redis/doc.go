// Package redis is a source of events: it publishes the messages of Redis Pub/Sub channels and the entries of Redis Streams
// as events of keys.
//
//	PUBLISH news hello     ─> key "news", data "hello"
//	XADD news * data hello ─> key "news", data "hello", id of the event: id of the entry
//
// How to use it:
//
//	names, err := redis.NewNames([]string{"news", "ticker.*"}, []string{"orders"}, nil) // channels, streams, rules
//	bridge, err := redis.New(redis.Options{URL: url, Names: names, Engine: eng, Publish: publish})
//	bridge.Start()
//	bridge.Settled(ctx) // then open the listeners
//	defer bridge.Close()
//
// # Two sources, two guarantees
//
// Pub/Sub does not keep messages. What was published during an outage of the connection cannot be known. So after each
// outage every key that the subscriptions cover gets an event "gap" before any other event.
//
// A stream keeps its entries. The bridge remembers the last entry of each stream that it has published, and continues after
// it. Nothing is lost or repeated unless Redis itself has lost entries (trimmed, deleted, restarted without persistence).
// The bridge detects that and reports a gap.
//
// Each source has its own connection and its own goroutine (worker). Messages are published in that goroutine, so the order
// within a channel or stream is kept and nothing is buffered in between. If publishers are faster than the bridge, the
// socket fills, then the output buffer of Redis, and Redis then closes the connection (client-output-buffer-limit pubsub).
// To the bridge that is an outage like any other.
//
// # Connections
//
// The worker connects, logs in, and runs its session until an error ends it. Then it waits and connects again. It never
// gives up, because even a wrong password may be corrected in Redis. Connections that are open but dead are detected by PING
// on a quiet subscription, and by a deadline on every other command.
//
// # Caveats
//
// The state of a session belongs to the worker's goroutine. The exception is the hooks of Pub/Sub, which rueidis calls from
// its reader: they use nothing else of the session until it has ended.
package redis
