// Package redis publishes what comes from Redis: the messages of Pub/Sub channels and the entries of streams become
// events of keys.
//
//	PUBLISH news hello     ─> key "news", data "hello"
//	XADD news * data hello ─> key "news", data "hello", and the entry's id as the event's
//
// # Two sources, two guarantees
//
// Pub/Sub forgets a message as soon as it is sent. What was published while the connection was away can't be known,
// so that after each outage every key that the subscriptions cover gets an event "gap" before anything else.
//
// A stream keeps its entries. The bridge remembers the last entry of each that it has published, and goes on behind it:
// nothing is missed and nothing comes twice, unless Redis itself has lost entries (trimmed, deleted, restarted without
// persistence), which is found out and told by a gap.
//
// Each source has a connection and a goroutine of its own ([worker]), and a message is published in that goroutine: the
// order of a channel or stream is kept, and nothing is buffered in between. A publisher that outruns the bridge fills the
// socket, then Redis' output buffer, and is then cut off by Redis (client-output-buffer-limit pubsub): an outage like any
// other.
//
// # Connections
//
// The worker dials, logs in, and runs its session until an error ends it; then it waits and starts again. It never gives
// up: a wrong password may be put right in Redis. Connections that are open but dead are found by PING on a quiet
// subscription, and by a deadline on every other command.
//
// # Caveats
//
// A session's state belongs to the worker's goroutine, except for what rueidis calls back from its reader (hooks of
// Pub/Sub), which touches nothing else until the session has ended.
package redis
