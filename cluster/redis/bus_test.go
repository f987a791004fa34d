package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fanfare/internal/test/eventually"
)

// inbox keeps what a node receives.
type inbox struct {
	mu  sync.Mutex
	got []string
}

func receive(t testing.TB, l *Log, name string) *inbox {
	t.Helper()
	in := &inbox{}
	err := l.Bus().Receive(name, func(data []byte) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.got = append(in.got, string(data))
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the bus is connected", l.bus.connected.Load)
	return in
}

func (in *inbox) seen() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

func (in *inbox) await(t testing.TB, want ...string) {
	t.Helper()
	eventually.Holds(t, fmt.Sprint(want), func() (bool, string) {
		got := in.seen()
		return slices.Equal(got, want), fmt.Sprint(got)
	})
}

// checkBus sends between two nodes.
func checkBus(t testing.TB, a, b *Log) {
	t.Helper()
	inA, inB := receive(t, a, "a"), receive(t, b, "b:x y")
	send := func(from *Log, to, data string) {
		t.Helper()
		if err := from.Bus().Send(to, []byte(data)); err != nil {
			t.Errorf("to %q: %v", to, err)
		}
	}
	send(a, "", "to all")
	send(a, "b:x y", "to b")
	send(b, "nobody", "lost")
	inA.await(t, "to all")
	inB.await(t, "to all", "to b")
	send(b, "a", "to a \x00\r\n\xff")
	inA.await(t, "to all", "to a \x00\r\n\xff")
}

func TestBus(t *testing.T) {
	s := startServer(t)
	a, b := startLog(t, Options{URL: s.URL()}), startLog(t, Options{URL: s.URL()})
	if err := a.Bus().Send("", []byte("early")); err == nil {
		t.Error("a bus without a connection takes messages")
	}
	checkBus(t, a, b)
	if err := a.Bus().Receive("again", func([]byte) {}); err == nil {
		t.Error("Receive can be called twice")
	}
	// The order of a sender stays.
	in := receive(t, startLog(t, Options{URL: s.URL()}), "c")
	var want []string
	for i := range 500 {
		want = append(want, strconv.Itoa(i))
		if err := a.Bus().Send("c", []byte(want[i])); err != nil {
			t.Fatal(err)
		}
	}
	in.await(t, want...)
	// It comes back by itself.
	s.restart()
	eventually.Holds(t, "the bus is back", func() (bool, string) {
		err := a.Bus().Send("c", []byte("after"))
		got := in.seen()
		return strings.HasSuffix(strings.Join(got, " "), "after"), fmt.Sprint(len(got), err)
	})
}

// What was sent before Close arrives: the others must hear a node's good-bye.
func TestBusSendsBeforeClose(t *testing.T) {
	s := startServer(t)
	in := receive(t, startLog(t, Options{URL: s.URL()}), "a")
	var want []string
	for i := range 20 {
		l := startLog(t, Options{URL: s.URL()})
		receive(t, l, fmt.Sprint("leaves", i))
		want = append(want, strconv.Itoa(i))
		if err := l.Bus().Send("a", []byte(want[i])); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	in.await(t, want...)
}

// Logs with other names or databases have nothing in common.
func TestNamesSeparate(t *testing.T) {
	s := startServer(t)
	a := checkLog(t, Options{URL: s.URL()})
	for _, o := range []Options{{URL: s.URL(), Name: "other"}, {URL: s.URL() + "/1"}} {
		b := startLog(t, o)
		if st := stateOf(t, b, 0); st.Epoch != 0 || st.Created == stateOf(t, a, 0).Created {
			t.Errorf("%+v", st)
		}
		if b.bus.channel == a.bus.channel {
			t.Errorf("%s is the channel of both", a.bus.channel)
		}
	}
}
