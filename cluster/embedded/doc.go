// Package embedded keeps the log of one process on its own disk: the log of the package nats, with a NATS server in the same
// process. The server listens to nobody.
//
//	log, err := embedded.Open(ctx, embedded.Options{Dir: "/var/lib/fanfare", Fsync: embedded.FsyncGroup})
//	...
//	defer log.Close()
//	node, err := cluster.NewNode(cluster.Options{Log: log, Bus: log, ...})
//
// # When an event is safe
//
// The process may be killed at any time: the operating system has what was acknowledged. What a loss of power leaves depends on
// Options.Fsync:
//
//   - FsyncGroup: everything that was acknowledged or delivered. All publishes that wait share one fsync, before they are answered, and
//     readers wait for it, too.
//   - FsyncAlways: the same. The server syncs each message on its own, one after the other.
//   - FsyncInterval: everything but the last interval.
//
// With 64 publishers that wait, 7,500 events of 64 bytes are stored in a second with FsyncGroup and 230 with FsyncAlways; one
// publisher alone stores 1,200 with either, and 13,700 with FsyncInterval. (Two cores that other programs used as well, ext4 on a
// virtual disk; go test -run '^$' -bench . ./cluster/embedded.)
//
// # What is noticed
//
// The directory has a file, record, with the boot of the machine, how the process ended, and the newest sequence that the log has
// confirmed. The next Open compares: after a loss of power with FsyncInterval, and if the log now has less than was confirmed (a
// damaged file, a copy of earlier), State says Unsynced, and the node begins a new epoch. Then clients that come back get a gap,
// and no id stands for two events.
//
// While the disk is full or broken, events are refused (cluster.ErrFull). The server is started again when the disk can be
// written.
//
// A copy of the whole directory that is put back cannot be noticed: it is consistent. Remove the file record from it.
package embedded
