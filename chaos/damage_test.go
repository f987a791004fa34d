package chaos_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare/internal/test/eventually"
)

// admin connects to the broker as an operator does.
func (f *natsFleet) admin() jetstream.JetStream {
	f.t.Helper()
	url := ""
	if f.broker != nil {
		url = f.broker.URL()
	} else {
		url = f.cluster.URL()
	}
	nc, err := nats.Connect(url)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		f.t.Fatal(err)
	}
	return js
}

func (f *natsFleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// stored opens the stream.
func (f *natsFleet) stored(ctx context.Context) jetstream.Stream {
	f.t.Helper()
	s, err := f.admin().Stream(ctx, stream)
	f.must(err)
	return s
}

// last is the newest sequence of the log.
func (f *natsFleet) last(ctx context.Context) uint64 {
	f.t.Helper()
	info, err := f.stored(ctx).Info(ctx)
	f.must(err)
	return info.State.LastSeq
}

// copyFolder copies a folder as it is.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

// block is the largest file with messages of the stream.
func (f *natsFleet) block() string {
	f.t.Helper()
	files, err := filepath.Glob(filepath.Join(f.broker.StreamFolder(stream), "msgs", "*.blk"))
	f.must(err)
	if len(files) == 0 {
		f.t.Fatalf("no blocks in %s", f.broker.StreamFolder(stream))
	}
	return slices.MaxFunc(files, func(a, b string) int {
		x, _ := os.Stat(a)
		y, _ := os.Stat(b)
		return int(x.Size() - y.Size())
	})
}

// forgetIndex removes what the broker remembers of its blocks, so that it reads them at its next start.
func (f *natsFleet) forgetIndex() {
	f.t.Helper()
	f.must(os.RemoveAll(filepath.Join(f.broker.StreamFolder(stream), "msgs", "index.db")))
}

// TestConsumerDeleted: a node that loses its consumer reads on with another, without a gap.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2)
	f.start(load{})
	ctx := t.Context()
	deleted := 0
	for range 3 {
		f.flows(3)
		s := f.stored(ctx)
		names := s.ConsumerNames(ctx)
		for name := range names.Name() {
			if err := s.DeleteConsumer(ctx, name); err == nil {
				deleted++
			}
		}
	}
	if deleted == 0 {
		t.Error("no consumer was deleted")
	}
	f.flows(5)
	f.finish()
}

// TestEdited: entries that an operator deletes after they were delivered are no loss to those who have them. Clients that come
// back from before them get a gap.
func TestEdited(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2)
	f.start(load{})
	f.flows(5)
	ctx := t.Context()

	// One node does not read meanwhile, so it meets the holes later. It must not be long: a publish that waits in its connection
	// for longer than duplicateWindow is stored again.
	f.links[0].Stop()
	f.flows(2)
	s := f.stored(ctx)
	last := f.last(ctx)
	for seq := last - 8; seq < last-4; seq++ {
		f.must(s.DeleteMsg(ctx, seq))
	}
	f.links[0].Resume()
	f.flows(5)
	f.finish("history", "log")
}

// TestPurged: the whole history is deleted, and the sequence goes on.
func TestPurged(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2)
	f.start(load{})
	f.flows(5)
	f.must(f.stored(t.Context()).Purge(t.Context()))
	f.flows(5)
	f.watchers[0].Move(0.5)
	f.flows(5)
	f.finish("history", "log")
}

// TestWentBack takes events from the log that were confirmed. Their ids must not come again with other events: an epoch begins.
func TestWentBack(t *testing.T) {
	for name, fault := range map[string]func(*natsFleet){
		"stream deleted": func(f *natsFleet) {
			f.must(f.admin().DeleteStream(f.t.Context(), stream))
		},
		"old snapshot restored": func(f *natsFleet) {
			f.broker.Kill()
			old := filepath.Join(f.t.TempDir(), "old")
			copyFolder(f.t, f.broker.Folder, old)
			f.broker.Start()
			f.flows(20)
			f.broker.Kill()
			f.must(os.RemoveAll(f.broker.Folder))
			copyFolder(f.t, old, f.broker.Folder)
			f.broker.Start()
		},
		"old snapshot restored, and the nodes restarted": func(f *natsFleet) {
			f.broker.Kill()
			old := filepath.Join(f.t.TempDir(), "old")
			copyFolder(f.t, f.broker.Folder, old)
			f.broker.Start()
			f.flows(20)
			f.broker.Kill()
			for _, n := range f.nodes {
				n.Kill()
			}
			f.must(os.RemoveAll(f.broker.Folder))
			copyFolder(f.t, old, f.broker.Folder)
			f.broker.Start()
			for i := range f.nodes {
				f.restart(i)
			}
		},
		"tail truncated": func(f *natsFleet) {
			f.broker.Kill()
			block := f.block()
			info, err := os.Stat(block)
			f.must(err)
			f.must(os.Truncate(block, info.Size()-3000))
			f.forgetIndex()
			f.broker.Start()
		},
		"bit flipped in the middle of a file": func(f *natsFleet) {
			f.broker.Kill()
			block := f.block()
			b, err := os.ReadFile(block)
			f.must(err)
			at := len(b)/2 + bytes.Index(b[len(b)/2:], []byte("xxxx"))
			b[at] ^= 1
			f.must(os.WriteFile(block, b, 0o600))
			f.forgetIndex()
			f.broker.Start()
		},
		"folder deleted": func(f *natsFleet) {
			f.broker.Kill()
			f.must(os.RemoveAll(filepath.Join(f.broker.Folder, "jetstream")))
			f.broker.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newNATSFleet(t, 1, 2, "--data-dir", "DIRECTORY") // in which each node keeps how far it has read
			f.start(load{})
			f.flows(20)
			fault(f)
			f.flows(20)
			// Those who come back now do so with an id of the epoch before, or of this one.
			f.watchers[0].Move(0.5)
			f.flows(5)
			r := f.finish("epoch", "history", "lag")
			if r.Reasons["epoch"] == 0 {
				t.Error("no gap has reported an epoch")
			}
		})
	}
}

// TestQuietClient: a client that has had no event resumes on another node from its first position.
func TestQuietClient(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2)
	f.start(load{still: true})
	before := f.status().Streams
	f.watchers[0].Move(1)
	eventually.True(t, "all have come back", func() bool { st := f.status(); return st.Streams-before >= 200 && st.Open >= 200 })
	f.finish()
}

// TestOlder: nodes keep few events, and clients come back from before them. The log has what the rings do not, so no client gets a
// gap for what is old. A ring that is so short may overtake a client that reads.
func TestOlder(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2, "--history", "4")
	f.start(load{spread: time.Millisecond})
	for range 3 {
		f.flows(5)
		f.watchers[0].Spread(2 * time.Second) // away for longer than the rings last
		f.watchers[0].Move(0.5)
		f.flows(20)
	}
	if n := f.metric("fanfare_log_older_total", "fetched"); n == 0 {
		t.Error("nothing was fetched from the log")
	}
	f.finish("lag")
}

// TestPartitions: a log of three partitions, with events to all keys.
func TestPartitions(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2, "--nats-partitions", "3")
	f.partitions = 3
	f.start(load{perStream: 3})
	f.flows(10)
	f.watchers[0].Move(0.5)
	f.flows(5)
	f.broker.Kill()
	f.broker.Start()
	f.flows(5)
	f.nodes[0].Kill()
	f.flows(5)
	f.restart(0)
	f.watchers[0].Move(0.5)
	f.flows(5)
	f.finish()
}

// TestJoin: subscribers that come during a load, on all nodes, miss nothing from their first position on.
func TestJoin(t *testing.T) {
	t.Parallel()
	f := newNATSFleet(t, 1, 2)
	f.start(load{})
	f.flows(5)
	f.join(100)
	f.flows(5)
	f.nodes[1].Kill()
	f.join(100)
	f.flows(5)
	f.restart(1)
	f.flows(5)
	f.finish()
}

// join adds subscribers.
func (f *fleet) join(n int) {
	c := f.config
	c.Subscribers, c.First = n, f.load.subscribers+len(f.watchers)*n
	w := newWatcher(f.t, c, false)
	f.watchers = append(f.watchers, w)
	w.Start()
	eventually.True(f.t, "those who join have a place", func() bool { return w.Status().Ready == n })
}
