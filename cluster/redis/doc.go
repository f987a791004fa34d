// Package redis is the log of a fleet on Redis streams, and its bus on Redis Pub/Sub.
//
//	log, err := redis.New(redis.Options{URL: "redis://127.0.0.1:6379"})
//	if err := log.Check(ctx); err != nil { … }     // optional: wrong password, too old, another number of partitions
//	node, err := cluster.NewNode(cluster.Options{Log: log, Bus: log.Bus(), …})
//	defer log.Close()
//
// # What is stored
//
// Each partition has one stream. Its entries have dense sequences, which append.lua gives:
//
//	{fanfare:0}          the stream. ID of an entry: <sequence>-<Unix nanoseconds, of which the last three digits are random>
//	                     Fields: key, head (cluster.AppendHeader), frame:<epoch> (the frame)
//	{fanfare:0}:facts    a hash: the newest sequence, the epoch, the creation, the run that the epoch belongs to
//	{fanfare:0}:id:<ID>  the sequence of a message with this ID, for the duplicate window
//
// The braces keep all keys of a partition on one node of a Redis Cluster. Field names that repeat cost nothing: Redis stores
// them once for a block of entries.
//
// # What happens in a failover
//
// Redis replicates asynchronously: a replica that is promoted may lack entries that were confirmed. The log has gone back then,
// and sequences are given a second time. So that an epoch and a sequence never name two entries:
//
//  1. An epoch belongs to one run of one server: from its start or promotion to its end or next promotion. append.lua
//     compares the two before it adds an entry, in the same step. In another run nothing but the beginning of a new epoch
//     can be added.
//  2. State reports a new run as Unsynced, so that a Node begins a new epoch.
//  3. Each entry names its epoch. Read compares it with the epoch that its caller knows, and fails instead of handing over an
//     entry of another one.
//
// A server that restarts begins a new run as well. The epoch moves to it only if nothing can be lost: appendonly is on with
// appendfsync always, no replica was ever connected, and no replica was promoted.
//
// # Caveats
//
// A stream with more entries costs memory, not disk: set a retention. Redis must not evict keys (maxmemory-policy noeviction).
// Entries that another program adds (XADD) are read by the rules of bridge/payload, but each of them breaks the dense
// sequence, and every client gets a gap. Other programs should publish by HTTP, or to a stream that bridge/redis reads.
package redis
