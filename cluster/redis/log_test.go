package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	r := read(t, l, 0, 0)
	own := engine.Frame{Bytes: []byte("id: mine\ndata: b\n\n"), IDAt: 4, IDLen: 4, Notice: true}
	silent := engine.Frame{Bytes: []byte(": comment\n\n"), IDAt: -1, Silent: true}
	before := time.Now()
	results := put(t, l,
		event("news", "a"),
		cluster.Message{Op: cluster.OpEvent, Key: "", Frame: own},
		cluster.Message{Op: cluster.OpBroadcast, Key: "ignored", Frame: frame("all")},
		cluster.Message{Op: cluster.OpEvent, Key: "k\x00\r\n\xff", Frame: silent})
	for i, got := range results {
		if got.Err != nil || got.Seq != uint64(i+2) || got.Duplicate {
			t.Errorf("%d: %+v", i, got)
		}
	}
	list := r.await(5)
	if list[0].Op != cluster.OpEpoch || list[0].Epoch != stateOf(t, l, 0).Epoch {
		t.Errorf("first: %+v", list[0])
	}
	if got, want := text(list[:4]), "1 epoch 2 news=a 3 =b 4 *=all"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i, want := range []engine.Frame{frame("a"), own, frame("all"), silent} {
		got := list[i+1].Frame
		if string(got.Bytes) != string(want.Bytes) || got.IDAt != want.IDAt || got.IDLen != want.IDLen || got.Silent != want.Silent || got.Notice != want.Notice {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
	if list[4].Key != "k\x00\r\n\xff" || list[3].Key != "" {
		t.Errorf("keys %q %q", list[4].Key, list[3].Key)
	}
	if at := time.Unix(0, list[1].At); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("stored at %s", at)
	}
	eventually.Holds(t, "Read says that there is no more", func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.idle == 5, fmt.Sprint(r.idle)
	})
	if !l.Connected() {
		t.Error("not connected")
	}
}

func TestAppendIsDenseAndInOrder(t *testing.T) {
	s := startServer(t)
	logs := []*Log{startEpoch(t, Options{URL: s.URL(), Partitions: 3}), startLog(t, Options{URL: s.URL(), Partitions: 3})}
	const publishers, calls, batch = 8, 40, 5
	readings := make([]*reading, 3)
	for p := range readings {
		readings[p] = read(t, logs[0], p, 0)
	}
	var publishing sync.WaitGroup
	for i := range publishers {
		publishing.Go(func() {
			l, n := logs[i%2], 0
			for range calls {
				var messages []cluster.Message
				for range batch {
					messages = append(messages, event(fmt.Sprintf("key%d", i), strconv.Itoa(n)))
					n++
				}
				results := make([]cluster.Result, batch)
				l.Append(within(t), messages, results)
				for j, r := range results {
					if r.Err != nil || j > 0 && r.Seq <= results[j-1].Seq {
						t.Errorf("%d of %+v", j, results)
						return
					}
				}
			}
		})
	}
	publishing.Wait()
	total := 0
	next := map[string]int{}
	for p, r := range readings {
		last := stateOf(t, logs[0], p).Last
		at := int64(0)
		for i, e := range r.await(int(last)) {
			if e.At < at {
				t.Fatalf("partition %d: entry %d was stored at %d, before the one before it: %d", p, e.Seq, e.At, at)
			}
			at = e.At
			if e.Seq != uint64(i+1) {
				t.Fatalf("partition %d: %d at place %d", p, e.Seq, i)
			}
			if e.Op == cluster.OpEpoch {
				continue
			}
			if cluster.PartitionOf(e.Key, 3) != p {
				t.Errorf("%s in partition %d", e.Key, p)
			}
			if dataOf(e.Frame) != strconv.Itoa(next[e.Key]) {
				t.Fatalf("%s: %s, want %d", e.Key, dataOf(e.Frame), next[e.Key])
			}
			next[e.Key]++
			total++
		}
	}
	if total != publishers*calls*batch {
		t.Errorf("%d events, want %d", total, publishers*calls*batch)
	}
}

func TestDuplicates(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL(), DuplicateWindow: time.Hour})
	other := startLog(t, Options{URL: s.URL(), DuplicateWindow: time.Hour})
	m := event("news", "a")
	m.ID = "k:1"
	again := m
	again.Frame = frame("other data")
	results := put(t, l, m, again, event("news", "b"))
	if results[0].Duplicate || !results[1].Duplicate || results[1].Seq != results[0].Seq || results[2].Seq != results[0].Seq+1 {
		t.Errorf("%+v", results)
	}
	if r := put(t, other, again)[0]; !r.Duplicate || r.Seq != results[0].Seq || r.Err != nil {
		t.Errorf("on another node: %+v", r)
	}
	if got, want := text(read(t, l, 0, 1).await(2)), "2 news=a 3 news=b"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDuplicateWindowEnds(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL(), DuplicateWindow: time.Second})
	m := event("news", "a")
	m.ID = "k:1"
	first := put(t, l, m)[0]
	eventually.True(t, "the window ends", func() bool {
		r := put(t, l, m)[0]
		return r.Err == nil && !r.Duplicate && r.Seq > first.Seq
	})
	eventually.Equal(t, "keys that are left", 2, func() int {
		n, _ := s.do("DBSIZE").AsInt64()
		return int(n)
	})
}

// Of several nodes that begin an epoch at the same place one succeeds.
func TestCompareAndSet(t *testing.T) {
	s := startServer(t)
	logs := make([]*Log, 4)
	for i := range logs {
		logs[i] = startLog(t, Options{URL: s.URL()})
		stateOf(t, logs[i], 0)
	}
	for round := range 5 {
		results := make([]cluster.Result, len(logs))
		var all sync.WaitGroup
		for i, l := range logs {
			all.Go(func() {
				l.Append(within(t), []cluster.Message{{Op: cluster.OpEpoch, Epoch: nextEpoch(), After: uint64(round + 1)}}, results[i:i+1])
			})
		}
		all.Wait()
		won := 0
		for _, r := range results {
			switch {
			case r.Err == nil && r.Seq == uint64(round+1):
				won++
			case !errors.Is(r.Err, cluster.ErrConflict):
				t.Errorf("%+v", r)
			}
		}
		if won != 1 {
			t.Fatalf("%d nodes began an epoch: %+v", won, results)
		}
	}
}

// Nothing can be added to a log that has no epoch.
func TestNoEpoch(t *testing.T) {
	s := startServer(t)
	l := startLog(t, Options{URL: s.URL()})
	if st := stateOf(t, l, 0); st.First != 1 || st.Last != 0 || st.Created == "" || st.Epoch != 0 || st.Unsynced {
		t.Errorf("%+v", st)
	}
	if r := put(t, l, event("news", "a"))[0]; !errors.Is(r.Err, cluster.ErrAway) || !errors.Is(r.Err, errEpoch) {
		t.Errorf("%+v", r)
	}
	if err := read(t, l, 0, 0).awaitError(); !errors.Is(err, errMoved) {
		t.Errorf("Read: %v", err)
	}
	if st := beginEpoch(t, l, 0); st.First != 1 || st.Last != 1 || st.EpochSeq != 1 {
		t.Errorf("%+v", st)
	}
	if seq := store(t, l, event("news", "a")); seq != 2 {
		t.Errorf("seq %d", seq)
	}
}

func TestSeqAt(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--stream-node-max-entries", "10")
	l := startEpoch(t, Options{URL: s.URL()})
	for i := range 300 {
		store(t, l, event("news", strconv.Itoa(i)))
		if i%50 == 0 {
			time.Sleep(2 * time.Millisecond) // so that not all have the same time
		}
	}
	entries := read(t, l, 0, 0).await(301)
	s.do("XTRIM", "{fanfare:0}", "MINID", "100")
	for _, at := range []int{0, 99, 100, 150, 200, 299, 300} {
		moment := time.Unix(0, entries[at].At).Truncate(time.Microsecond)
		want := 1 + slices.IndexFunc(entries, func(e cluster.Entry) bool { return !time.Unix(0, e.At).Before(moment) })
		want = max(want, 100)
		if got, err := l.SeqAt(within(t), 0, moment); err != nil || got != uint64(want) {
			t.Errorf("at %d: %d, %v, want %d", at, got, err, want)
		}
	}
	for _, c := range []struct {
		t    time.Time
		want uint64
	}{{time.Now().Add(time.Hour), 302}, {time.Unix(0, 0), 100}, {time.Unix(0, entries[300].At).Add(time.Microsecond), 302}} {
		if got, err := l.SeqAt(within(t), 0, c.t); err != nil || got != c.want {
			t.Errorf("%s: %d, %v, want %d", c.t, got, err, c.want)
		}
	}
	s.do("DEL", "{fanfare:0}")
	if got, err := l.SeqAt(within(t), 0, time.Unix(0, 0)); err != nil || got != 302 {
		t.Errorf("of an empty stream: %d, %v", got, err)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	var messages []cluster.Message
	for i := 2; i <= 1001; i++ { // i is the sequence
		m := event(fmt.Sprint("key", i%10), strconv.Itoa(i))
		if i%100 == 0 {
			m = cluster.Message{Op: cluster.OpBroadcast, Frame: frame(strconv.Itoa(i))}
		}
		messages = append(messages, m)
	}
	results := put(t, l, messages...)
	if last := results[len(results)-1]; last.Err != nil || last.Seq != 1001 {
		t.Fatalf("%+v", last)
	}
	half := time.Unix(0, read(t, l, 0, 0).await(1001)[500].At) // of sequence 501
	for _, c := range []struct {
		name string
		q    cluster.Query
		want string
		err  error
	}{
		{"a range", cluster.Query{Key: "key3", After: 103, Through: 133}, "113 123 133", nil},
		{"nothing", cluster.Query{Key: "key3", After: 104, Through: 112}, "", nil},
		{"an empty range", cluster.Query{Key: "key3", After: 104, Through: 104}, "", nil},
		{"broadcasts", cluster.Query{All: true, After: 0, Through: 300}, "100 200 300", nil},
		{"without those of all keys", cluster.Query{Key: "key0", After: 90, Through: 110}, "110", nil},
		{"the newest", cluster.Query{Key: "key3", After: 1, Through: 1001, Newest: 3}, "973 983 993", nil},
		{"the newest of few", cluster.Query{Key: "key3", After: 1, Through: 20, Newest: 3}, "3 13", nil},
		{"over Max", cluster.Query{Key: "key3", After: 103, Through: 133, Max: 2}, "", cluster.ErrTooOld},
		{"up to Max", cluster.Query{Key: "key3", After: 103, Through: 133, Max: 3}, "113 123 133", nil},
		{"over Scan", cluster.Query{Key: "key3", After: 103, Through: 133, Scan: 29}, "", cluster.ErrTooOld},
		{"up to Scan", cluster.Query{Key: "key3", After: 103, Through: 133, Scan: 30}, "113 123 133", nil},
		{"the newest over Scan", cluster.Query{Key: "none", After: 1, Through: 1001, Newest: 3, Scan: 400}, "", cluster.ErrTooOld},
		{"over Bytes", cluster.Query{Key: "key3", After: 103, Through: 133, Bytes: 40}, "", cluster.ErrTooOld},
		{"up to Bytes", cluster.Query{Key: "key3", After: 103, Through: 133, Bytes: 100}, "113 123 133", nil},
		{"after the end", cluster.Query{Key: "key3", After: 103, Through: 1002}, "", cluster.ErrTooOld},
	} {
		got, err := fetched(t, l, c.q)
		if got != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %s, %v, want %s, %v", c.name, got, err, c.want, c.err)
		}
	}
	got, err := fetched(t, l, cluster.Query{Key: "key3", After: 1, Through: 1001, Since: half})
	first, _, _ := strings.Cut(got, " ")
	if n, _ := strconv.Atoi(first); err != nil || n < 500-batchMessages || n > 503 || !strings.HasSuffix(got, "993") {
		t.Errorf("since a time: %s, %v", got, err)
	}
	// What retention has removed is an error, except for a client that only wants what there is.
	s.do("XTRIM", "{fanfare:0}", "MINID", "=", "500")
	if got, err := fetched(t, l, cluster.Query{Key: "key3", After: 400, Through: 520}); !errors.Is(err, cluster.ErrTooOld) {
		t.Errorf("trimmed: %s, %v", got, err)
	}
	if got, err := fetched(t, l, cluster.Query{Key: "key3", After: 499, Through: 520}); err != nil || got != "503 513" {
		t.Errorf("all that is left: %s, %v", got, err)
	}
	if got, err := fetched(t, l, cluster.Query{Key: "key3", After: 1, Through: 520, Newest: 100}); err != nil || got != "503 513" {
		t.Errorf("the newest of what is left: %s, %v", got, err)
	}
	if got, err := fetched(t, l, cluster.Query{Key: "key3", After: 1, Through: 520, Since: time.Unix(1, 0)}); err != nil || got != "503 513" {
		t.Errorf("what is left since a time: %s, %v", got, err)
	}
	s.do("XDEL", "{fanfare:0}", s.idOf(510))
	if got, err := fetched(t, l, cluster.Query{Key: "key3", After: 499, Through: 520}); !errors.Is(err, cluster.ErrTooOld) {
		t.Errorf("one was deleted: %s, %v", got, err)
	}
	// Exact: the entries above what was lost.
	for _, c := range []struct {
		after, through uint64
		bytes          int64
		want           string
		lost           uint64
	}{
		{509, 540, 0, "513 523 533", 510},
		{400, 540, 0, "513 523 533", 510},
		{400, 505, 0, "503", 499},
		{400, 450, 0, "", 450},
		{510, 540, 0, "513 523 533", 0},
		{510, 540, 40, "523 533", 513},
	} {
		got, err := fetched(t, l, cluster.Query{Key: "key3", After: c.after, Through: c.through, Newest: 100, Exact: true, Bytes: c.bytes})
		var lost *engine.LostError
		if errors.As(err, &lost) != (c.lost > 0) || err != nil && (lost == nil || lost.Through != c.lost) || got != c.want {
			t.Errorf("exact, %+v: %q, %v", c, got, err)
		}
	}
	stop := errors.New("stop")
	if err := l.Fetch(within(t), cluster.Query{Key: "key3", After: 600, Through: 700}, func(*cluster.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the handler's error: %v", err)
	}
}

// idOf returns the ID of the entry with a sequence.
func (s *server) idOf(seq int) string {
	s.T.Helper()
	list, err := s.do("XRANGE", "{fanfare:0}", strconv.Itoa(seq), strconv.Itoa(seq)).AsXRangeSlices()
	if err != nil || len(list) != 1 {
		s.T.Fatalf("%d: %v, %v", seq, list, err)
	}
	return list[0].ID
}

// fetched returns the data that a query finds.
func fetched(t testing.TB, l *Log, q cluster.Query) (data string, err error) {
	t.Helper()
	var all []string
	err = l.Fetch(within(t), q, func(e *cluster.Entry) error {
		if dataOf(e.Frame) != strconv.FormatUint(e.Seq, 10) {
			t.Errorf("%d has the data %s", e.Seq, dataOf(e.Frame))
		}
		all = append(all, dataOf(e.Frame))
		return nil
	})
	return strings.Join(all, " "), err
}

// Entries of other programs are read, and each breaks the sequence.
func TestForeignEntries(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	store(t, l, event("news", "a"))
	r := read(t, l, 0, 0)
	r.await(2)
	s.do("XADD", "{fanfare:0}", "5-0", "key", "news", "data", "hello")
	s.do("XADD", "{fanfare:0}", "6-0", "key", "news", "data", `{"event":"e","data":"x"}`)
	s.do("XADD", "{fanfare:0}", "7-0", "key", "news", "text", "?")
	if seq := store(t, l, event("news", "b")); seq != 8 {
		t.Errorf("seq %d", seq)
	}
	list := r.await(7)
	if got := text(append(list[:5:5], list[6:]...)); !strings.HasPrefix(got, "1 epoch 2 news=a ..4 hole 5 news=hello 6 news=x 8 news=b") {
		t.Error(got)
	}
	if list[5].Op != cluster.OpInvalid || list[5].Err == nil || !strings.Contains(string(list[4].Frame.Bytes), "event: e\n") {
		t.Errorf("%+v %q", list[5], list[4].Frame.Bytes)
	}
	// Nothing can follow the largest ID.
	s.do("XADD", "{fanfare:0}", "18446744073709551615-1", "key", "news", "data", "end")
	if r := put(t, l, event("news", "c"))[0]; !errors.Is(r.Err, cluster.ErrAway) {
		t.Errorf("after the largest ID: %+v", r)
	}
}

func TestAppendEnds(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	big := event("news", strings.Repeat("x", 1<<20))
	results := make([]cluster.Result, 20)
	messages := make([]cluster.Message, len(results))
	for i := range messages {
		messages[i] = big
	}
	l.Append(canceled, messages, results)
	for i, r := range results {
		if r.Err != nil && !errors.Is(r.Err, cluster.ErrUnknown) && !errors.Is(r.Err, cluster.ErrAway) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	// What was answered as not stored is not stored.
	unsent := 0
	for _, r := range results {
		if errors.Is(r.Err, cluster.ErrAway) {
			unsent++
		}
	}
	last := store(t, l, event("news", "after"))
	if last > uint64(2+len(results)-unsent) {
		t.Errorf("the last sequence is %d, and %d of %d were not sent", last, unsent, len(results))
	}
	huge := cluster.Message{Op: cluster.OpEvent, Key: "k", Frame: engine.Frame{Bytes: make([]byte, maxFrameBytes+1), IDAt: -1}}
	if r := put(t, l, huge)[0]; !errors.Is(r.Err, cluster.ErrTooLarge) {
		t.Errorf("%+v", r)
	}
	l.Close()
	if r := put(t, l, event("news", "closed"))[0]; !errors.Is(r.Err, cluster.ErrAway) {
		t.Errorf("after Close: %+v", r)
	}
}

// TestEvictionIsWarnedOf: a server that may delete the log is named at the start.
func TestEvictionIsWarnedOf(t *testing.T) {
	t.Parallel()
	for policy, warns := range map[string]bool{"noeviction": false, "allkeys-lru": true, "volatile-ttl": true} {
		s := startServer(t, "--maxmemory-policy", policy)
		records := &proctest.Log{}
		l, err := New(Options{URL: s.URL(), Timeout: 20 * time.Second, Logger: slog.New(slog.NewTextHandler(records, nil))})
		if err != nil {
			t.Fatal(err)
		}
		eventually.NoError(t, "the state", func() error { return l.Check(within(t)) })
		l.Close()
		if got := strings.Contains(records.String(), "maxmemory-policy="+policy); got != warns {
			t.Errorf("%s: a warning: %t\n%s", policy, got, records)
		}
	}
}
