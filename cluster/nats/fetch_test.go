package nats

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
)

func TestFetch(t *testing.T) {
	l, _ := openNew(t, Options{})
	// Sequences 1 to 3000: the key of a sequence is "a" if it is divisible by 10, all if by 7 but not by 10, otherwise others.
	var messages []cluster.Message
	for i := 1; i <= 3000; i++ {
		switch m := event(fmt.Sprint("other", i%50), fmt.Sprint(i)); {
		case i%10 == 0:
			m.Key = "a"
			messages = append(messages, m)
		case i%7 == 0:
			m.Op, m.Key = cluster.OpBroadcast, ""
			messages = append(messages, m)
		default:
			messages = append(messages, m)
		}
	}
	appendAll(t, l, messages...)
	var times []time.Time
	if err := l.Read(patient(t), 0, 0, func(e *cluster.Entry) error {
		if times = append(times, time.Unix(0, e.At)); e.Seq == 3000 {
			return errStop
		}
		return nil
	}, func(uint64) {}); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	a := func(seqs ...int) (want []string) {
		for _, seq := range seqs {
			want = append(want, fmt.Sprintf(`%d "a" "data: %d\n\n"`, seq, seq))
		}
		return want
	}
	upTo := func(from, to int) (seqs []int) {
		for seq := from; seq <= to; seq += 10 {
			seqs = append(seqs, seq)
		}
		return seqs
	}
	const all = 1 << 20
	for _, c := range []struct {
		name   string
		q      cluster.Query
		want   []string
		tooOld bool
	}{
		{"nothing missed", cluster.Query{Key: "a", After: 3000, Through: 3000}, nil, false},
		{"nothing of the key", cluster.Query{Key: "b", After: 1, Through: 3000}, nil, false},
		{"both bounds", cluster.Query{Key: "a", After: 100, Through: 130}, a(110, 120, 130), false},
		{"between two", cluster.Query{Key: "a", After: 101, Through: 109}, nil, false},
		{"several batches", cluster.Query{Key: "a", Through: 3000}, a(upTo(10, 3000)...), false},
		{"beyond the end", cluster.Query{Key: "a", After: 2975, Through: 9000}, a(2980, 2990, 3000), false},
		{"broadcasts", cluster.Query{All: true, After: 1, Through: 21}, []string{`7 all "data: 7\n\n"`, `14 all "data: 14\n\n"`, `21 all "data: 21\n\n"`}, false},
		{"the scan is bounded", cluster.Query{Key: "a", After: 100, Through: 3000, Scan: 100}, nil, true},
		{"the scan is just large enough", cluster.Query{Key: "a", After: 2900, Through: 3000, Scan: 100}, a(upTo(2910, 3000)...), false},
		{"the newest bounds the scan", cluster.Query{Key: "other1", After: 2949, Through: 3000, Scan: 3}, []string{`2951 "other1" "data: 2951\n\n"`}, false},
		{"entries are bounded", cluster.Query{Key: "a", After: 100, Through: 3000, Max: 3}, a(110, 120, 130), true},
		{"bytes are bounded", cluster.Query{Key: "a", After: 100, Through: 3000, Bytes: 30}, a(110, 120), true},
		{"newest", cluster.Query{Key: "a", Through: 3000, Newest: 3}, a(2980, 2990, 3000), false},
		{"the newest one", cluster.Query{Key: "a", Through: 3000, Newest: 1}, a(3000), false},
		{"the newest one below a bound", cluster.Query{Key: "a", Through: 2999, Newest: 1}, a(2990), false},
		{"newest, several windows", cluster.Query{Key: "a", Through: 3000, Newest: 200}, a(upTo(1010, 3000)...), false},
		{"newest, fewer there are", cluster.Query{Key: "a", After: 2970, Through: 3000, Newest: 200}, a(2980, 2990, 3000), false},
		{"newest within the scan", cluster.Query{Key: "a", Through: 3000, Newest: 100, Scan: 25}, a(2980, 2990, 3000), true},
		{"newest within the bytes", cluster.Query{Key: "a", Through: 3000, Newest: 100, Bytes: 30}, a(2990, 3000), true},
		{"newest within the entries", cluster.Query{Key: "a", Through: 3000, Newest: 100, Max: 2}, a(2990, 3000), true},
		{"newest, one that is larger than the bytes", cluster.Query{Key: "a", Through: 3000, Newest: 100, Bytes: 5}, a(3000), true},
		{"since, within the bytes", cluster.Query{Key: "a", Through: 3000, Since: times[2900], Bytes: 30}, a(2990, 3000), true},
		{"since, within the entries", cluster.Query{Key: "a", Through: 3000, Since: times[2900], Max: 2}, a(2990, 3000), true},
		{"since, within the scan", cluster.Query{Key: "a", Through: 3000, Since: times[2900], Scan: 25}, a(2980, 2990, 3000), true},
		{"oldest", cluster.Query{Key: "a", After: 10, Through: 3000, Oldest: 2}, a(20, 30), false},
		{"oldest, fewer there are", cluster.Query{Key: "a", After: 2980, Through: 3000, Oldest: 3}, a(2990, 3000), false},
		{"oldest within the bytes", cluster.Query{Key: "a", After: 10, Through: 3000, Oldest: 9, Bytes: 30}, a(20, 30, 40), false},
		{"oldest, one that is larger than the bytes", cluster.Query{Key: "a", After: 10, Through: 3000, Oldest: 9, Bytes: 5}, a(20), false},
		{"since", cluster.Query{Key: "a", Through: 3000, Since: times[2970]}, a(2980, 2990, 3000), false},
		{"since, from the entry itself", cluster.Query{Key: "a", Through: 3000, Since: times[2979]}, a(2980, 2990, 3000), false},
		{"since, and newest", cluster.Query{Key: "a", Through: 3000, Since: times[2970], Newest: 100}, a(2980, 2990, 3000), false},
		{"since the future", cluster.Query{Key: "a", Through: 3000, Since: time.Now().Add(time.Hour)}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.q.Max == 0 {
				c.q.Max = all
			}
			if c.q.Scan == 0 {
				c.q.Scan = all
			}
			if c.q.Bytes == 0 {
				c.q.Bytes = all
			}
			got, err := fetchAll(t, l, c.q)
			if errors.Is(err, cluster.ErrTooOld) != c.tooOld || err != nil && !c.tooOld {
				t.Errorf("error %v, want ErrTooOld: %v", err, c.tooOld)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	// What retention has removed is not there, and an exact range says so.
	var ok struct{}
	if err := l.request(patient(t), "STREAM.PURGE.fanfare", map[string]any{"seq": 1001}, &ok); err != nil {
		t.Fatal(err)
	}
	q := cluster.Query{Key: "a", Through: 3000, Max: all, Scan: all, Bytes: all}
	for after, tooOld := range map[uint64]bool{0: true, 999: true, 1000: false, 2000: false} {
		q.After = after
		if got, err := fetchAll(t, l, q); errors.Is(err, cluster.ErrTooOld) != tooOld || !tooOld && len(got) != int(3000-after)/10 {
			t.Errorf("after %d: %d entries, %v", after, len(got), err)
		}
	}
	q.After, q.Newest = 0, 1000
	if got, err := fetchAll(t, l, q); err != nil || len(got) != 200 {
		t.Errorf("the newest, which may be fewer: %d entries, %v", len(got), err)
	}
	if got, err := fetchAll(t, l, cluster.Query{Key: "b", After: 5, Through: 3000, Max: all, Scan: all, Bytes: all}); !errors.Is(err, cluster.ErrTooOld) {
		t.Errorf("a key of which everything may have been removed: %q, %v", got, err)
	}
}

// exact is what Fetch returns for Query.Exact: the sequences, and the newest one that is lost.
func exact(t *testing.T, l *Log, q cluster.Query) (seqs []uint64, through uint64) {
	t.Helper()
	q.Newest, q.Exact, q.Max, q.Scan = 1<<20, true, 1<<20, 1<<20
	err := l.Fetch(patient(t), q, func(e *cluster.Entry) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	var lost *engine.LostError
	switch {
	case errors.As(err, &lost):
		through = lost.Through
	case err != nil:
		t.Error(err)
	}
	return seqs, through
}

// What the log has lost of a range is known to the entry, whatever the reason.
func TestFetchExact(t *testing.T) {
	l, _ := openNew(t, Options{})
	for i := range 30 {
		appendAll(t, l, event([]string{"a", "b", "c"}[i%3], fmt.Sprint(i+1))) // a has 1, 4, ... 28
	}
	check := func(what string, after uint64, wantLost uint64, want ...uint64) {
		t.Helper()
		if got, lost := exact(t, l, cluster.Query{Key: "a", After: after, Through: 30, Bytes: 1 << 20}); !slices.Equal(got, want) || lost != wantLost {
			t.Errorf("%s, after %d: %d, lost up to %d; want %d, lost up to %d", what, after, got, lost, want, wantLost)
		}
	}
	check("whole", 20, 0, 22, 25, 28)
	var ok struct{}
	if err := l.request(patient(t), "STREAM.PURGE.fanfare", map[string]any{"seq": 18}, &ok); err != nil {
		t.Fatal(err)
	}
	check("removed", 10, 17, 19, 22, 25, 28)
	check("removed", 17, 0, 19, 22, 25, 28)
	if got, lost := exact(t, l, cluster.Query{Key: "none", After: 10, Through: 30, Bytes: 1 << 20}); len(got) > 0 || lost != 17 {
		t.Errorf("no such key: %d, lost up to %d", got, lost)
	}
	if err := l.request(patient(t), "STREAM.MSG.DELETE.fanfare", map[string]any{"seq": 23}, &ok); err != nil {
		t.Fatal(err)
	}
	check("damaged", 10, 23, 25, 28)
	check("damaged", 23, 0, 25, 28)
	if got, lost := exact(t, l, cluster.Query{Key: "a", After: 23, Through: 30, Bytes: 10}); !slices.Equal(got, []uint64{28}) || lost != 27 {
		t.Errorf("over the bytes: %d, lost up to %d", got, lost)
	}
}

// With retentionPerKey the oldest entries of each key are removed, also between those of other keys.
func TestFetchWithLimitPerKey(t *testing.T) {
	l, _ := openNew(t, Options{MaxPerKey: 3})
	for i := range 5 {
		appendAll(t, l, event("a", fmt.Sprint(i+1)))
		if i < 3 {
			appendAll(t, l, event("b", fmt.Sprint(i+1)))
		}
	}
	// a has 1, 3, 5, 7 and 8, of which the first two are removed; b has 2, 4 and 6.
	for _, c := range []struct {
		key            string
		after, through uint64
		lost           uint64
		want           []uint64
	}{
		{"a", 0, 8, 4, []uint64{5, 7, 8}},
		{"a", 1, 8, 4, []uint64{5, 7, 8}},
		{"a", 4, 8, 4, []uint64{5, 7, 8}}, // nothing can be between 4 and 5
		{"a", 5, 8, 0, []uint64{7, 8}},
		{"a", 1, 4, 4, nil}, // none of the kept entries is in the range, and one that was removed is
		{"b", 2, 8, 0, []uint64{4, 6}},
		{"b", 1, 8, 1, []uint64{2, 4, 6}}, // it has as many as it may
		{"c", 1, 8, 0, nil},
	} {
		q := cluster.Query{Key: c.key, After: c.after, Through: c.through, Bytes: 1 << 20}
		got, lost := exact(t, l, q)
		if c.lost <= c.after {
			c.lost = 0
		}
		if !slices.Equal(got, c.want) || lost != c.lost {
			t.Errorf("%s from %d to %d: %d, lost up to %d; want %d, lost up to %d", c.key, c.after, c.through, got, lost, c.want, c.lost)
		}
		q.Max, q.Scan = 100, 100
		if _, err := fetchAll(t, l, q); errors.Is(err, cluster.ErrTooOld) != (c.lost > 0) {
			t.Errorf("%s from %d to %d: %v", c.key, c.after, c.through, err)
		}
	}
}
