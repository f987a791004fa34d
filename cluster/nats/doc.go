// Package nats keeps the log of a fleet in JetStream, and carries the messages between its nodes by NATS.
//
//	log, err := nats.Open(ctx, nats.Options{URL: "nats://127.0.0.1:4222"})
//	...
//	defer log.Close()
//	node, err := cluster.NewNode(cluster.Options{Log: log, Bus: log, ...})
//
// # What is on the server
//
// Each partition is a stream: fanfare, or fanfare-0, fanfare-1 and so on, with the subjects ff.<partition>.<key>. Open creates the streams,
// and changes their limits if the settings have changed. It refuses a stream that cannot be the log. A message has the finished frame,
// and a header Fanfare that says what it is (cluster.AppendHeader). A message without that header comes from another program:
//
//	nats pub ff.0.news hello
//
// In a subject, printable ASCII of a key stands for itself, except . * > = and every other byte, which are =XX; the empty key is "=". A key
// whose token would exceed 3,000 bytes is "=~" and the base64url of its SHA-256, and the message has it in the header Fanfare-Key.
// Events of all keys are in ff.0.=all, the beginnings of epochs in ff.<partition>.=epoch.
//
// # Which promises come from where
//
// Append sends all messages at once and waits for the acknowledgments. While the connection or the stream's leader is lost it waits, and
// sends again what has an ID: the server stores that once (Nats-Msg-Id). Read has an ephemeral pull consumer and checks that no
// sequence is missing. What is missing is asked of the leader, because a consumer may be served by a replica that is behind or damaged.
// Only what the leader does not have is a hole. State asks the leader, too. Fetch asks the leader for the key's newest entry, and any
// replica for the others; if that replica does not have the newest, the leader.
//
// The server needs version 2.11 or later, and should have 2.12.3 or later.
//
// # Permissions
//
// A user needs to publish to ff.>, $JS.API.STREAM.*.fanfare*, $JS.API.STREAM.MSG.GET.fanfare*, $JS.API.DIRECT.GET.fanfare* and
// $JS.API.CONSUMER.> (fanfare stands for natsStream), and to subscribe to ff.bus.> and _INBOX.>.
package nats
