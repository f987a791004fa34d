package nats

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

func TestAppendAndRead(t *testing.T) {
	l, _ := openNew(t, Options{})
	long := strings.Repeat("λ", 3000)
	before := time.Now().Add(-time.Second)
	messages := []cluster.Message{
		event("news", "1"),
		event("", "2"),
		event("a.b *>", "3"),
		{Op: cluster.OpBroadcast, Frame: frame("4")},
		{Op: cluster.OpEpoch, Epoch: 77},
		event(long, "6"),
		{Op: cluster.OpEvent, Key: "=all", Frame: engine.Frame{Bytes: []byte("id: \ndata: 7\n\n"), IDAt: 4, Silent: true, Notice: true}},
	}
	for i, r := range appendAll(t, l, messages...) {
		if r.Seq != uint64(i+1) || r.Duplicate {
			t.Errorf("message %d: %+v", i, r)
		}
	}
	want := []string{
		`1 "news" "data: 1\n\n"`, `2 "" "data: 2\n\n"`, `3 "a.b *>" "data: 3\n\n"`, `4 all "data: 4\n\n"`, "5 epoch 77",
		fmt.Sprintf(`6 %q "data: 6\n\n"`, long), `7 "=all" "id: \ndata: 7\n\n"`,
	}
	if got := readTo(t, l, 0, 0, 7); !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if got := readTo(t, l, 0, 4, 7); !slices.Equal(got, want[4:]) {
		t.Errorf("read %q, want %q", got, want[4:])
	}
	err := l.Read(patient(t), 0, 6, func(e *cluster.Entry) error {
		if e.Frame.IDAt != 4 || e.Frame.IDLen != 0 || !e.Frame.Silent || !e.Frame.Notice || e.At < before.UnixNano() || e.At > time.Now().Add(time.Second).UnixNano() {
			t.Errorf("%+v", e)
		}
		return errStop
	}, func(uint64) {})
	if !errors.Is(err, errStop) {
		t.Error(err)
	}
	s, err := l.State(patient(t), 0)
	if err != nil || s.First != 1 || s.Last != 7 || s.Epoch != 77 || s.EpochSeq != 5 || s.Created == "" || s.Unsynced {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestReadFollows has a reader that waits for what comes.
func TestReadFollows(t *testing.T) {
	l, _ := openNew(t, Options{})
	got, idle := make(chan string, 10), make(chan uint64, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- l.Read(patient(t), 0, 0, func(e *cluster.Entry) error {
			got <- describe(e)
			if e.Seq == 3 {
				return errStop
			}
			return nil
		}, func(last uint64) { idle <- last })
	}()
	await := func(want uint64) {
		t.Helper()
		eventually.Equal(t, "the newest sequence when there is nothing to read", want, func() uint64 { return <-idle })
	}
	await(0)
	for i := range uint64(3) {
		appendAll(t, l, event("news", "x"))
		if want := fmt.Sprintf(`%d "news" "data: x\n\n"`, i+1); <-got != want {
			t.Error(want)
		}
		if i < 2 {
			await(i + 1)
		}
	}
	if err := <-ended; !errors.Is(err, errStop) {
		t.Error(err)
	}
	eventually.Equal(t, "consumers", 0, func() int {
		var info struct {
			State struct {
				Consumers int `json:"consumer_count"`
			} `json:"state"`
		}
		if err := l.request(patient(t), "STREAM.INFO.fanfare", nil, &info); err != nil {
			t.Fatal(err)
		}
		return info.State.Consumers
	})
}

func TestMessageIDsAndConditions(t *testing.T) {
	l, _ := openNew(t, Options{})
	m := event("news", "1")
	m.ID = "k:ä\r\n" // whatever a publisher's key is, it is not a header's end
	if r := appendOne(patient(t), l, m); r.Err != nil || r.Seq != 1 || r.Duplicate {
		t.Fatalf("%+v", r)
	}
	if r := appendOne(patient(t), l, m); r.Err != nil || r.Seq != 1 || !r.Duplicate {
		t.Fatalf("the repetition: %+v", r)
	}
	epoch := cluster.Message{Op: cluster.OpEpoch, Epoch: 5, After: 1}
	if r := appendOne(patient(t), l, epoch); !errors.Is(r.Err, cluster.ErrConflict) {
		t.Fatalf("a condition on an empty log: %+v", r)
	}
	epoch.After = 2
	if r := appendOne(patient(t), l, epoch); r.Err != nil || r.Seq != 2 {
		t.Fatalf("%+v", r)
	}
	if r := appendOne(patient(t), l, epoch); !errors.Is(r.Err, cluster.ErrConflict) {
		t.Fatalf("the same condition again: %+v", r)
	}
	// A failed message does not stop the later ones.
	results := make([]cluster.Result, 3)
	l.Append(patient(t), []cluster.Message{event("a", "1"), event("a", strings.Repeat("x", 1<<20)), event("a", "2")}, results)
	if results[0].Seq != 3 || !errors.Is(results[1].Err, cluster.ErrTooLarge) || results[2].Seq != 4 {
		t.Errorf("%+v", results)
	}
	if !l.Connected() {
		t.Error("a message that is too large has ended the connection")
	}
}

func TestConditionOnAnEmptyLog(t *testing.T) {
	l, _ := openNew(t, Options{Partitions: 2})
	for p := range 2 {
		s, err := l.State(patient(t), p)
		if err != nil || s.First != 1 || s.Last != 0 || s.Epoch != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		m := cluster.Message{Op: cluster.OpEpoch, Epoch: 9, After: s.Last + 1, Partition: p}
		if r := appendOne(patient(t), l, m); r.Err != nil || r.Seq != 1 {
			t.Fatalf("%+v", r)
		}
		if got := readTo(t, l, p, 0, 1); !slices.Equal(got, []string{"1 epoch 9"}) {
			t.Errorf("%q", got)
		}
	}
}

func TestForeignMessages(t *testing.T) {
	l, s := openNew(t, Options{})
	nc := client(t, s.URL())
	for _, m := range []struct{ subject, data string }{
		{"ff.0.news", "hello"},
		{"ff.0.a=2Eb", `{"data":{"n":1},"event":"tick"}`},
		{"ff.0.=all", "everybody"},
		{"ff.0.a.b", "two tokens"},
		{"ff.0.=2e", "lower case"},
		{"ff.0.=epoch", "x"},
	} {
		if _, err := nc.Request(m.subject, []byte(m.data), eventually.Patience); err != nil {
			t.Fatal(err)
		}
	}
	forged := &natsgo.Msg{Subject: "ff.0.news", Header: natsgo.Header{"Fanfare": {"1 x abc"}}}
	if _, err := nc.RequestMsg(forged, eventually.Patience); err != nil {
		t.Fatal(err)
	}
	got := readTo(t, l, 0, 0, 7)
	want := []string{`1 "news" "data: hello\n`, `2 "a.b" "event: tick\n`, `3 all "data: everybody\n`, "4 invalid", "5 invalid", "6 invalid", "7 invalid"}
	for i := range want {
		text := strings.ReplaceAll(strings.ReplaceAll(got[i], `id: \n`, ""), `id:\n`, "")
		if !strings.HasPrefix(text, want[i]) {
			t.Errorf("read %q, want %q", got[i], want[i])
		}
	}
	if s, err := l.State(patient(t), 0); err != nil || s.Epoch != 0 || s.Last != 7 {
		t.Errorf("%+v, %v: want no epoch", s, err)
	}
}

func TestSeqAt(t *testing.T) {
	l, _ := openNew(t, Options{})
	if seq, err := l.SeqAt(patient(t), 0, time.Now()); err != nil || seq != 1 {
		t.Fatalf("an empty log: %d, %v", seq, err)
	}
	var at []time.Time
	for range 3 {
		appendAll(t, l, event("news", "x"))
	}
	err := l.Read(patient(t), 0, 0, func(e *cluster.Entry) error {
		if at = append(at, time.Unix(0, e.At)); e.Seq == 3 {
			return errStop
		}
		return nil
	}, func(uint64) {})
	if !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	for _, c := range []struct {
		t    time.Time
		want uint64
	}{{at[0].Add(-time.Hour), 1}, {at[0], 1}, {at[1], 2}, {at[2], 3}, {at[2].Add(time.Nanosecond), 4}, {at[2].Add(time.Hour), 4}} {
		if seq, err := l.SeqAt(patient(t), 0, c.t); err != nil || seq != c.want {
			t.Errorf("at %s: %d, %v, want %d", c.t, seq, err, c.want)
		}
	}
}

func TestBus(t *testing.T) {
	a, s := openNew(t, Options{})
	b, _ := open(t, Options{URL: s.URL()})
	got := map[string]chan string{"a": make(chan string, 2000), "b.*": make(chan string, 2000)}
	for name, l := range map[string]*Log{"a": a, "b.*": b} {
		if err := l.Receive(name, func(data []byte) { got[name] <- string(data) }); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range 500 {
		text := fmt.Sprint(i)
		want = append(want, text)
		if err := a.Send([]string{"", "b.*"}[i%2], []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range want {
		if g := <-got["b.*"]; g != text {
			t.Fatalf("b has got %s, want %s", g, text)
		}
		if i%2 == 0 {
			if g := <-got["a"]; g != text {
				t.Fatalf("a has got %s, want %s", g, text)
			}
		}
	}
	if err := a.Send("", make([]byte, 2<<20)); err == nil || !a.Connected() {
		t.Errorf("a message that is too large: %v", err)
	}
}
