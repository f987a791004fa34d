// Package cluster makes several servers one fleet, and makes events outlive a restart: all events go to one ordered log,
// and every node serves its subscribers from that log.
//
// A Node publishes to a Log and answers when the Log has stored the event. It reads the whole Log into its engine, so the
// rings of every node hold the recent events of all keys, with the log's positions as ids: a client resumes at any node.
// What the rings do not hold any more is fetched from the Log. What concerns streams (counts, close, disconnect) is asked
// of all nodes by a Bus.
//
// The package knows neither NATS nor Redis nor HTTP. Its folders cluster/nats and
// cluster/redis have the logs, cluster/embedded a NATS server in the same process.
package cluster
