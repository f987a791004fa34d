package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/chaos/publish"
	"fanfare/chaos/record"
	"fanfare/chaos/watch"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// load is what goes on while a fault happens. The zero value is the short form.
type load struct {
	subscribers int           // default 200
	workers     int           // processes that have them; 0: this one
	keys        int           // default 8
	perStream   int           // keys of each subscriber, default 2
	pause       time.Duration // of each publisher, default 50 ms
	size        int           // filler of each event, default 100 bytes
	pin         int           // subscribers begin on the first so many nodes; 0: on all
	spread      time.Duration // see watch.Config
	slow        int           // every so many-th subscriber reads slowly
	silence     time.Duration // see watch.Config
	giveUp      time.Duration // see publish.Config
	quiet       bool          // no events to all keys
	still       bool          // nothing is published before finish
}

// fleet is some nodes with subscribers and publishers.
type fleet struct {
	t          *testing.T
	name       string
	nodes      []*proctest.Server
	brokers    int
	partitions int // of the log; 0: there is none
	load       load
	config     watch.Config

	book       record.Book
	watchers   []watcher
	publishers []*publish.Publisher
	stop       context.CancelFunc
	publishing sync.WaitGroup
}

// newFleet starts n nodes with these flags.
func newFleet(t *testing.T, n int, args ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, name: strings.TrimPrefix(t.Name(), "Test")}
	for range n {
		f.addNode(args...)
	}
	return f
}

func (f *fleet) addNode(args ...string) *proctest.Server {
	f.t.Helper()
	return f.addServer(&proctest.Server{Binary: binary, Args: args})
}

// addServer starts a node that is run in its own way.
func (f *fleet) addServer(s *proctest.Server) *proctest.Server {
	f.t.Helper()
	s.T = f.t
	s.Args = append(s.Args, "--log-format", "json", "--ping-interval", "1s")
	s.Start()
	f.nodes = append(f.nodes, s)
	return s
}

// start lets subscribers connect, and then publishers publish.
func (f *fleet) start(l load) {
	f.t.Helper()
	def := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	def(&l.subscribers, 200)
	def(&l.keys, 8)
	def(&l.perStream, 2)
	def(&l.size, 100)
	if l.pause == 0 {
		l.pause = 50 * time.Millisecond
	}
	f.load = l

	// Subscribers first, so that all of them expect every event.
	c := watch.Config{PerStream: l.perStream, Pin: l.pin, Broadcasts: !l.quiet, Partitions: f.partitions, Spread: l.spread, Silence: l.silence, Slow: l.slow}
	for _, n := range f.nodes {
		c.Nodes = append(c.Nodes, proctest.Addr(n.Stream))
	}
	for i := range l.keys {
		c.Keys = append(c.Keys, fmt.Sprintf("key-%d", i))
	}
	f.config = c
	for i := range max(1, l.workers) {
		share := l.subscribers / max(1, l.workers)
		c.Subscribers, c.First = share, i*share
		w := newWatcher(f.t, c, l.workers > 0)
		f.watchers = append(f.watchers, w)
		w.Start()
	}
	eventually.Holds(f.t, "all subscribers have a place in the log", func() (bool, string) {
		st := f.status()
		return st.Ready == l.subscribers/max(1, l.workers)*max(1, l.workers), fmt.Sprintf("%+v", st)
	})

	// A publisher for each key, and one for all keys.
	var admins []string
	for _, n := range f.nodes {
		admins = append(admins, n.Admin)
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.t.Cleanup(func() { stop(); f.publishing.Wait() })
	keys := slices.Clone(c.Keys)
	if !l.quiet {
		keys = append(keys, record.Broadcast)
	}
	for i, key := range keys {
		pc := publish.Config{Key: key, Nodes: admins, Book: &f.book, Token: f.nodes[0].Token, Run: f.name, Size: l.size, Pause: l.pause, First: i, GiveUp: l.giveUp}
		if key == record.Broadcast {
			pc.Pause *= 4
		}
		p := publish.New(pc)
		f.publishers = append(f.publishers, p)
		if !l.still {
			f.publishing.Go(func() { p.Run(ctx) })
		}
	}
}

// status is the sum over all processes.
func (f *fleet) status() (sum watch.Status) {
	for _, w := range f.watchers {
		st := w.Status()
		sum.Open, sum.Ready, sum.Streams, sum.Failed = sum.Open+st.Open, sum.Ready+st.Ready, sum.Streams+st.Streams, sum.Failed+st.Failed
		sum.Events, sum.Gaps = sum.Events+st.Events, sum.Gaps+st.Gaps
	}
	return sum
}

// flows waits until n more events of each publisher have been confirmed: by conditions, because machines differ in speed.
func (f *fleet) flows(n int) {
	f.t.Helper()
	stored := func() map[string]int {
		m := map[string]int{}
		for key, numbers := range f.book.Published() {
			for _, number := range numbers {
				if number.Outcome == record.Stored {
					m[key]++
				}
			}
		}
		return m
	}
	before := stored()
	eventually.Holds(f.t, "events are confirmed", func() (bool, string) {
		now := stored()
		time.Sleep(20 * time.Millisecond)
		for key := range now {
			if key != record.Broadcast && now[key] < before[key]+n {
				return false, fmt.Sprintf("%s: %d of %d; %s", key, now[key]-before[key], n, f.lastErrors())
			}
		}
		return len(now) >= len(f.publishers), fmt.Sprint(now)
	})
}

// awaitRefusal waits until no publisher gets on any more.
func (f *fleet) awaitRefusal() {
	f.t.Helper()
	eventually.True(f.t, "nothing is confirmed any more", func() bool {
		for _, p := range f.publishers {
			if p.LastError() == nil {
				return false
			}
		}
		return true
	})
}

// lastErrors says why the newest requests were not confirmed.
func (f *fleet) lastErrors() string {
	for _, p := range f.publishers {
		if err := p.LastError(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// finish ends the publishers, publishes one more event for each key, waits until everybody has it, and gives the verdict. Gaps
// may have these reasons only.
func (f *fleet) finish(allowed ...string) *watch.Report {
	f.t.Helper()
	f.stop()
	f.publishing.Wait()
	for _, p := range f.publishers {
		deadline := time.Now().Add(eventually.Patience)
		for n := p.Next(); n.Outcome != record.Stored; n = p.Next() {
			if time.Now().After(deadline) {
				f.t.Fatalf("the last event of a key cannot be published: %v", p.LastError())
			}
		}
	}
	published := f.book.Published()
	last := published.Last()
	behind := 0
	if !eventually.Within(eventually.Patience/2, func() bool {
		behind = 0
		for _, w := range f.watchers {
			behind += w.Behind(last)
		}
		time.Sleep(20 * time.Millisecond)
		return behind == 0
	}) {
		f.t.Errorf("%d subscribers do not have the last events: %+v", behind, f.status())
	}
	var reports []*watch.Report
	for _, w := range f.watchers {
		reports = append(reports, w.Judge(published))
	}
	r := watch.Combine(published, reports...)
	if err := r.Err(); err != nil {
		f.t.Error(err)
	}
	for reason, n := range r.Reasons {
		if !slices.Contains(allowed, reason) {
			f.t.Errorf("%d gaps with the reason %s: the fault must not cause any", n, reason)
		}
	}
	counts := published.Counts()
	if counts[record.Stored] == 0 || r.Events == 0 {
		f.t.Errorf("%d events were confirmed, %d arrived: nothing was tested", counts[record.Stored], r.Events)
	}
	var longest time.Duration
	for _, numbers := range published {
		for _, n := range numbers {
			longest = max(longest, time.Duration(n.Took)*time.Microsecond)
		}
	}
	verdict := "pass"
	if f.t.Failed() {
		verdict = "FAIL"
	}
	results.add(f.name, fmt.Sprint(len(f.nodes), ", ", f.brokers), r.Subscribers, fmt.Sprint(counts[record.Stored], ", ", counts[record.Unknown]+counts[record.Queued], ", ", counts[record.Refused]),
		r.Events, r.Gaps(), r.Covered, longest.Round(10*time.Millisecond), verdict)
	return r
}
