// Package swarm holds subscribers: non-blocking sockets, read by one epoll loop per core, with no goroutine for each.
//
// Everything about a subscriber belongs to its loop's goroutine, which is locked to a thread. Others reach a loop in two
// ways: functions sent over its command channel, which the loop runs between two batches, and the snapshot of its counts
// that it leaves under a lock every few milliseconds. So a delivery touches no lock and no atomic.
//
// With https a connection has a goroutine of its own for the handshake; then the loop decrypts what it reads. See secure.
package swarm
