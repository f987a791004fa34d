// Package swarm holds thousands of subscribers. Their sockets are non-blocking, and one epoll loop per core reads them, without a
// goroutine per subscriber.
//
//	s, err := swarm.New(plan, shard, shards, ledger)
//	err = s.Connect()
//	// publish, then:
//	result, err := s.Finish(published)
//
// Everything about a subscriber belongs to the goroutine of its loop, which is locked to a thread. Other goroutines use a loop in
// two ways: they send functions over its command channel, which the loop runs between two batches, and they read the snapshot of
// its counts, which it stores under a lock every few milliseconds. So a delivery needs no lock and no atomic operation.
//
// With https, each handshake has its own goroutine. After it, the loop decrypts what it reads, see secure.
package swarm
