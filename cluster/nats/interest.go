package nats

// Interest by key at the broker: a design that is not built
//
// Every node reads the whole log, with interest: keys, too, by which it only keeps less (engine.KeyOptions.OnDemand). An event costs the servers 4 us for each node, and each node 5 us, whether it has subscribers
// for the key or not. For keys of one user each, most nodes have none. The alternative is that a node subscribes to the keys that
// its clients want. Measured with nats-server 2.15.2 on two busy cores: the servers spend 11 us once to publish a stored event
// again (RePublish), and 22 to 34 us to find its subscriptions among 100,000. A node spends 15 to 30 us for each event that it
// wants, and 57 MB for 100,000 subscriptions through one channel (337 MB with a function for each). So it pays from about ten
// nodes on, for keys whose events few nodes want. A consumer with many filters is no way: 1,000 filters take 0.25 s, 5,000 do not
// finish.
//
// What it would need:
//
//   - A stream of its own for these keys (a pattern, as in rules of keys), so that the readers of the log do not get them: subjects
//     ff.i.<token>, published again to ff.live.<token>. Append and Fetch work for it as they are.
//   - A subscription to ff.live.<token> while a node has subscribers of the key, all through one channel. The engine must say when the
//     first one comes and the last one has gone, some time later.
//   - In the engine, a watermark for each of these keys instead of one for the partition: the node does not see the other keys' events.
//     Positions stay those of the stream. A client of several such keys has one position for each.
//   - The first position of a key: subscribe, flush, ask the leader for the key's newest entry (getRequest.Last). What comes
//     with a lower sequence is older. This costs the leader 0.1 ms for each key that becomes known to a node, so a node that starts
//     with 100,000 clients must ask for many keys at once (multi_last, 1,024 in one request).
//   - Loss: the header Nats-Last-Sequence has the sequence of the key's event before. If it is not the newest that the node has, the
//     range in between comes from Fetch. The last event before silence can be lost without a sign, when the leader changes or the
//     connection is lost: after each of these, and every few seconds for some keys in turn, the newest entries must be compared.
//   - Epochs as they are: State of that stream after each reconnection.
