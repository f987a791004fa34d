package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
)

// load is writers that append one event after the other, each with an ID, and a reader.
type load struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	writes sync.WaitGroup
	reads  sync.WaitGroup

	mu     sync.Mutex
	acked  map[uint64]string // what was acknowledged
	failed int
	seen   map[uint64]string // what the reader has got
	holes  int
}

// startLoad runs writers on logs and a reader on the last of them.
func startLoad(t *testing.T, writers int, logs ...*Log) *load {
	w := &load{t: t, acked: map[uint64]string{}, seen: map[uint64]string{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		w.cancel()
		w.writes.Wait()
		w.reads.Wait()
	})
	reading, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	for i := range writers {
		w.writes.Go(func() { w.write(logs[i%len(logs)], i) })
	}
	w.reads.Go(func() { w.read(reading, logs[len(logs)-1]) })
	return w
}

func (w *load) write(l *Log, writer int) {
	for i := 0; w.ctx.Err() == nil; i++ {
		text := fmt.Sprintf("%d-%d", writer, i)
		m := event("news", text)
		m.ID = text
		ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
		r := appendOne(ctx, l, m)
		cancel()
		w.mu.Lock()
		if r.Err != nil {
			w.failed++
			w.t.Errorf("%s: %v", text, r.Err)
		} else if other, twice := w.acked[r.Seq]; twice {
			w.t.Errorf("sequence %d is %s and %s", r.Seq, other, text)
		} else {
			w.acked[r.Seq] = text
		}
		w.mu.Unlock()
	}
}

func (w *load) read(ctx context.Context, l *Log) {
	after := uint64(0)
	for ctx.Err() == nil {
		_ = l.Read(ctx, 0, after, func(e *cluster.Entry) error {
			if e.Seq != after+1 {
				w.t.Errorf("sequence %d after %d", e.Seq, after)
			}
			after = e.Seq
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen[e.Seq] = strings.TrimSuffix(strings.TrimPrefix(string(e.Frame.Bytes), "data: "), "\n\n")
			if e.Op == cluster.OpHole {
				w.holes++
			}
			return nil
		}, func(uint64) {})
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *load) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// awaitMore waits for more acknowledgments.
func (w *load) awaitMore(n int) {
	w.t.Helper()
	want := w.count() + n
	eventually.True(w.t, fmt.Sprintf("%d more acknowledged events", n), func() bool { return w.count() >= want })
}

// check stops the writers, and compares: everything that was acknowledged was read at its sequence, and everything that was read
// is there once.
func (w *load) check(l *Log) {
	w.t.Helper()
	w.cancel()
	w.writes.Wait()
	s, err := l.State(patient(w.t), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	eventually.True(w.t, "the reader has read everything", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return uint64(len(w.seen)) >= s.Last
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	at := map[string]uint64{}
	for seq, text := range w.seen {
		if other, twice := at[text]; twice {
			w.t.Errorf("%s is at %d and %d", text, other, seq)
		}
		at[text] = seq
	}
	for seq, text := range w.acked {
		if w.seen[seq] != text {
			w.t.Errorf("sequence %d was acknowledged as %s and read as %q", seq, text, w.seen[seq])
		}
	}
	if w.holes > 0 || len(w.acked) == 0 || s.Last != uint64(len(w.seen)) {
		w.t.Errorf("%d holes, %d acknowledged, %d read, last sequence %d", w.holes, len(w.acked), len(w.seen), s.Last)
	}
	w.t.Logf("%d acknowledged, %d read", len(w.acked), len(w.seen))
}

// rounds is how often a fault is repeated.
func rounds(short int) int {
	if long() {
		return 10 * short
	}
	return short
}

func TestServerKilledUnderLoad(t *testing.T) {
	l, s := openNew(t, Options{})
	w := startLoad(t, 8, l)
	for range rounds(2) {
		w.awaitMore(1000)
		s.Kill()
		s.Start()
	}
	w.awaitMore(100)
	w.check(l)
}

func TestLeaderKilledUnderLoad(t *testing.T) {
	c := natstest.StartCluster(t, 3, "")
	a, _ := open(t, Options{URL: c.URL(), Replicas: 3})
	b, _ := open(t, Options{URL: c.Servers[2].URL() + "," + c.URL()})
	w := startLoad(t, 8, a, b)
	for range rounds(1) {
		w.awaitMore(300)
		leader := c.Leader("fanfare")
		leader.Kill()
		w.awaitMore(100)
		leader.Start()
		c.AwaitReady()

		w.awaitMore(100)
		leader = c.Leader("fanfare")
		leader.Pause()
		w.awaitMore(100)
		leader.Resume()
		c.AwaitReady()
	}
	w.awaitMore(100)
	w.check(b)
}

func TestAllServersKilled(t *testing.T) {
	if !long() {
		t.Skip("FANFARE_LONG=1 runs it")
	}
	c := natstest.StartCluster(t, 3, "")
	l, _ := open(t, Options{URL: c.URL(), Replicas: 3})
	w := startLoad(t, 8, l)
	for range 3 {
		w.awaitMore(300)
		for _, s := range c.Servers {
			s.Kill()
		}
		for _, s := range c.Servers {
			s.Run()
		}
		c.AwaitReady()
	}
	w.awaitMore(100)
	w.check(l)
}

func TestConsumerDeleted(t *testing.T) {
	l, _ := openNew(t, Options{})
	appendAll(t, l, event("news", "1"))
	var names struct {
		Consumers []string `json:"consumers"`
	}
	deleted := false
	err := l.Read(patient(t), 0, 0, func(*cluster.Entry) error { return nil }, func(uint64) {
		if deleted {
			return
		}
		deleted = true
		if err := l.request(patient(t), "CONSUMER.NAMES.fanfare", nil, &names); err != nil || len(names.Consumers) != 1 {
			t.Errorf("%v, %v", names, err)
			return
		}
		var ok struct{}
		if err := l.request(patient(t), "CONSUMER.DELETE.fanfare."+names.Consumers[0], nil, &ok); err != nil {
			t.Error(err)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "Consumer Deleted") {
		t.Fatal(err)
	}
	appendAll(t, l, event("news", "2"))
	if got := readTo(t, l, 0, 1, 2); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// TestEditedStream deletes, purges and makes the stream anew.
func TestEditedStream(t *testing.T) {
	l, _ := openNew(t, Options{})
	for i := range 9 {
		appendAll(t, l, event("news", fmt.Sprint(i+1)))
	}
	var ok struct{}
	for _, seq := range []int{1, 2, 5, 7, 8} {
		if err := l.request(patient(t), "STREAM.MSG.DELETE.fanfare", map[string]any{"seq": seq}, &ok); err != nil {
			t.Fatal(err)
		}
	}
	e := func(n int) string { return fmt.Sprintf(`%d "news" "data: %d\n\n"`, n, n) }
	want := []string{"2 hole", e(3), e(4), "5 hole", e(6), "8 hole", e(9)}
	if got := readTo(t, l, 0, 0, 9); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := readTo(t, l, 0, 6, 9); !slices.Equal(got, want[5:]) {
		t.Errorf("%q, want %q", got, want[5:])
	}

	for after, tooOld := range map[uint64]bool{2: true, 4: true, 8: false} {
		q := cluster.Query{Key: "news", After: after, Through: 9, Max: 100, Scan: 100, Bytes: 1000}
		if got, err := fetchAll(t, l, q); errors.Is(err, cluster.ErrTooOld) != tooOld {
			t.Errorf("after %d: %q, %v", after, got, err)
		}
	}

	// After a purge the newest sequences have no entry, and no message comes that would show it.
	if err := l.request(patient(t), "STREAM.PURGE.fanfare", nil, &ok); err != nil {
		t.Fatal(err)
	}
	if s, err := l.State(patient(t), 0); err != nil || s.First != 10 || s.Last != 9 {
		t.Errorf("%+v, %v", s, err)
	}
	if got := readTo(t, l, 0, 4, 9); !slices.Equal(got, []string{"9 hole"}) {
		t.Errorf("%q", got)
	}
	before, err := l.State(patient(t), 0)
	if err != nil {
		t.Fatal(err)
	}

	// The same sequences will be other entries: a reader must not go on.
	if err := l.request(patient(t), "STREAM.DELETE.fanfare", nil, &ok); err != nil {
		t.Fatal(err)
	}
	nothing := func(e *cluster.Entry) error { t.Errorf("read %s", describe(e)); return errStop }
	if err := l.Read(patient(t), 0, 9, nothing, func(uint64) {}); !isCode(err, codeStreamNotFound) {
		t.Error(err)
	}
	if err := l.ensureStreamsAnew(); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		appendAll(t, l, event("news", "other"))
	}
	if err := l.Read(patient(t), 0, 9, nothing, func(uint64) {}); !errors.Is(err, errWentBack) {
		t.Error(err)
	}
	after, err := l.State(patient(t), 0)
	if err != nil || after.Created == before.Created {
		t.Errorf("%+v, %v, before %+v", after, err, before)
	}
	if got := readTo(t, l, 0, 0, 12); len(got) != 12 {
		t.Errorf("%q", got)
	}
	if err := l.Read(patient(t), 0, 13, nothing, func(uint64) {}); !errors.Is(err, errWentBack) {
		t.Error(err)
	}
}

// ensureStreamsAnew makes the stream as another node would, without a note of its creation.
func (l *Log) ensureStreamsAnew() error {
	_, err := l.ensureStream(context.Background(), 0)
	return err
}

// TestSlowReader has a handler that is slower than what comes.
func TestSlowReader(t *testing.T) {
	l, _ := openNew(t, Options{})
	const n = 5000
	messages := make([]cluster.Message, n)
	for i := range messages {
		messages[i] = event("news", fmt.Sprintf("%d %s", i, strings.Repeat("x", 2000)))
	}
	release, blocked := make(chan struct{}), make(chan struct{})
	ended, next := make(chan error, 1), uint64(1)
	go func() {
		ended <- l.Read(patient(t), 0, 0, func(e *cluster.Entry) error {
			if e.Seq == 10 {
				close(blocked)
				<-release
			}
			if e.Seq != next {
				t.Errorf("sequence %d, want %d", e.Seq, next)
			}
			if next++; e.Seq == n {
				return errStop
			}
			return nil
		}, func(uint64) {})
	}()
	appendAll(t, l, messages[:100]...)
	<-blocked
	appendAll(t, l, messages[100:]...) // acknowledgments come by the connection that the reader does not hold up
	close(release)
	if err := <-ended; !errors.Is(err, errStop) {
		t.Error(err)
	}
}

// TestAway has no server for a while.
func TestAway(t *testing.T) {
	l, s := openNew(t, Options{})
	appendAll(t, l, event("news", "1"))
	s.Kill()
	eventually.Equal(t, "connected", false, l.Connected)
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if r := appendOne(short, l, event("news", "2")); !errors.Is(r.Err, cluster.ErrAway) {
		t.Errorf("%+v", r)
	}
	nothing := func(e *cluster.Entry) error { t.Errorf("read %s", describe(e)); return nil }
	if err := l.Read(patient(t), 0, 1, nothing, func(uint64) {}); !errors.Is(err, errLost) {
		t.Error(err)
	}
	done := make(chan cluster.Result, 1)
	go func() { done <- appendOne(patient(t), l, event("news", "3")) }()
	s.Start()
	if r := <-done; r.Err != nil || r.Seq != 2 {
		t.Errorf("%+v", r)
	}
	s.Pause()
	defer s.Resume()
	short, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if r := appendOne(short, l, event("news", "4")); !errors.Is(r.Err, cluster.ErrUnknown) {
		t.Errorf("%+v", r)
	}
	// What has no ID is not sent again after the connection, so it is answered when that is found to be dead.
	if r := appendOne(patient(t), l, event("news", "5")); !errors.Is(r.Err, cluster.ErrUnknown) && !errors.Is(r.Err, cluster.ErrAway) {
		t.Errorf("%+v", r)
	}
}

// TestNobodyAnswers has no stream for a while, which a server answers as it does while a stream has no leader.
func TestNobodyAnswers(t *testing.T) {
	l, _ := openNew(t, Options{})
	var ok struct{}
	if err := l.request(patient(t), "STREAM.DELETE.fanfare", nil, &ok); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if r := appendOne(short, l, event("news", "1")); !errors.Is(r.Err, cluster.ErrAway) || errors.Is(r.Err, cluster.ErrUnknown) {
		t.Errorf("%+v: nothing was stored", r)
	}
	done := make(chan cluster.Result, 1)
	go func() { done <- appendOne(patient(t), l, event("news", "2")) }()
	if err := l.ensureStreamsAnew(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Err != nil || r.Seq != 1 {
		t.Errorf("%+v", r)
	}
}
