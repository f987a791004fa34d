// Package wiretest has clients that tests read streams with, and a server for tests of clients, [Serve].
//
// A [Conn] decides about every byte: it sends a request as it is written, and compares what comes back. An [Events] reads a
// stream as an EventSource does.
//
//	c := wiretest.Open(t, addr, "/stream?connectKey=news")
//	c.Expect("event: position\n")
//
//	e := wiretest.Subscribe(t, addr, "/stream?connectKey=news")
//	if m := e.Next(); m.Data != "hello" { ... }
//
// Both read only when the test asks for it, so that a test can be a slow client. A read that gets nothing for
// [eventually.Patience] fails the test.
package wiretest
