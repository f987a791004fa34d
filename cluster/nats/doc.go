// Package nats keeps the log of a fleet in JetStream, and carries the messages between its nodes by NATS.
//
//	log, err := nats.Open(ctx, nats.Options{URL: "nats://127.0.0.1:4222"})
//	...
//	defer log.Close()
//	node, err := cluster.NewNode(cluster.Options{Log: log, Bus: log, ...})
//
// # What is on the server
//
// Each partition is a stream: fanfare, or fanfare-0, fanfare-1 and so on, with the subjects ff.<partition>.<key>. Open creates
// the streams, and changes their limits if the settings have changed. It refuses a stream that cannot be the log. A message has
// the finished frame, and a header Fanfare that says what it is (cluster.AppendHeader). A message without that header comes from
// another program:
//
//	nats pub ff.0.news hello
//
// In a subject, printable ASCII of a key stands for itself, except . * > = and every other byte, which are =XX; the empty key is
// "=". The entry of an epoch has the stream's creation time in the header Fanfare-Created: a restored stream has another one, and needs
// a new epoch. A key whose token would exceed 3,000 bytes is "=~" and the base64url of its SHA-256, and the message has it in the header
// Fanfare-Key. Events of all keys are in ff.0.=all, the beginnings of epochs in ff.<partition>.=epoch.
//
// # Which promises come from where
//
// Append sends all messages at once and waits for the acknowledgments. While the connection or the stream's leader is lost it
// waits, and sends again what has an ID: the server stores that once (Nats-Msg-Id). Read has an ephemeral pull consumer and
// checks that no sequence is missing. What is missing is asked of the leader, because a consumer may be served by a replica that
// is behind or damaged. Only what the leader does not have is a hole. State asks the leader, too. Fetch asks the leader for the
// key's newest entry, and any replica for the others; if that replica does not have the newest, the leader.
//
// The server needs version 2.11 or later, and should have 2.12.3 or later.
//
// # Permissions
//
// A user of the server needs these, where fanfare stands for natsStream and ff for what its subjects begin with. CREATE and
// UPDATE of streams are not needed if the streams exist with the same settings.
//
//	publish:   ff.>, $JS.API.STREAM.INFO.fanfare*, $JS.API.STREAM.CREATE.fanfare*, $JS.API.STREAM.UPDATE.fanfare*,
//	           $JS.API.STREAM.MSG.GET.fanfare*, $JS.API.DIRECT.GET.fanfare*, $JS.API.CONSUMER.CREATE.fanfare*.*,
//	           $JS.API.CONSUMER.MSG.NEXT.fanfare*.*, $JS.API.CONSUMER.DELETE.fanfare*.*
//	subscribe: ff.bus.>, _INBOX.>
//
// NATS has no wildcards within a token: write each stream's name instead of fanfare*, which is more than one only with several
// partitions. With a domain, write $JS.DOMAIN.API instead of $JS.API.
//
// # Figures
//
// Two cores that other programs used as well (load 20 to 30), so read ratios and processor times, not rates. nats-server 2.15.3
// as a process of its own, one server, file storage, 64 bytes; by `go test -run '^$' -bench . ./cluster/nats`:
//
//	                                              broker CPU   node CPU
//	an event, 1 publisher waits for each              90 us      70 us    p50 0.12 ms
//	an event, 64 publishers wait                      15 us      15 us    p50 1.7 ms
//	an event in batches of 100                        16 us       9 us
//	an event that is read while catching up          3.3 us     3.6 us    75,000 a second
//	Fetch that finds nothing newer                   0.23 ms    0.23 ms
//	Fetch of 10 events that follow each other        0.8 ms     0.5 ms
//	Fetch of 10 events among 100,000 others          4.5 ms     1.1 ms
//
// Fetch by an ephemeral consumer with a filter costs the broker as much (0.7 ms and 5.0 ms), and in a cluster each consumer is a
// decision of all servers. Direct reads are none.
package nats
