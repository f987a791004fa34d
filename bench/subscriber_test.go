package bench_test

import (
	"fmt"
	"testing"

	"fanfare/engine"
)

// signal is a sink that passes its subscriber to the benchmark.
type signal chan struct{}

func (s signal) Ready() { s <- struct{}{} }

// BenchmarkWake measures the cost of waking a subscriber: one that is awake already, one that sleeps, and one that sleeps and is
// woken by a publish through the waker, until the benchmark's goroutine has the event.
func BenchmarkWake(b *testing.B) {
	b.Run("awake", func(b *testing.B) {
		s := own(b, start(b, engine.Options{}), "k")
		b.ReportAllocs()
		for b.Loop() {
			s.Notify()
		}
	})
	b.Run("asleep", func(b *testing.B) {
		s := &join(b, start(b, engine.Options{}), "k", 1)[0].sub
		b.ReportAllocs()
		for b.Loop() {
			s.Notify()
		}
	})
	b.Run("published", func(b *testing.B) {
		e := start(b, engine.Options{})
		s, ready := new(engine.Subscriber), make(signal, 1)
		if _, err := e.Subscribe(s, []string{"k"}, "", ready); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			for !s.Release() {
			}
			publish(b, e, "k", frame)
			<-ready
			if _, ok := s.Next(true); !ok {
				b.Fatal("woken without an event")
			}
		}
	})
}

// BenchmarkNext measures one read by a cursor from its key's ring.
func BenchmarkNext(b *testing.B) {
	const history = 1024
	// fill returns a subscriber and the first of the events that it has before it.
	fill := func(b *testing.B) (*engine.Engine, *engine.Subscriber, []engine.Item) {
		e := start(b, engine.Options{Key: engine.KeyOptions{History: history}})
		s := own(b, e, "k")
		for range history {
			publish(b, e, "k", frame)
		}
		first, ok := s.Next(true)
		if !ok {
			b.Fatal("no event")
		}
		return e, s, []engine.Item{first}
	}
	b.Run("kept", func(b *testing.B) {
		_, s, first := fill(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := s.Next(true); !ok {
				s.Unread(first) // and with it all that came behind it
			}
		}
	})
	b.Run("lapped", func(b *testing.B) {
		e, s, first := fill(b)
		for range history {
			publish(b, e, "k", frame)
		}
		b.ReportAllocs()
		for b.Loop() {
			s.Unread(first) // it has left the ring by now
			if it, ok := s.Next(true); !ok || it.Gap == nil {
				b.Fatal("no gap", it, ok)
			}
		}
	})
	b.Run("nothing", func(b *testing.B) {
		s := own(b, start(b, engine.Options{}), "k")
		b.ReportAllocs()
		for b.Loop() {
			if it, ok := s.Next(true); ok {
				b.Fatal("an event", it)
			}
		}
	})
}

// BenchmarkJoinLeave measures a subscriber that joins and leaves, alone or among others.
func BenchmarkJoinLeave(b *testing.B) {
	for _, n := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			e := start(b, engine.Options{Key: engine.KeyOptions{MaxSubscribers: n + 1}})
			join(b, e, "k", n)
			b.ReportAllocs()
			for b.Loop() {
				r := new(reader)
				r.join(b, e, "k", "")
				r.sub.Close(engine.ReasonGone)
			}
		})
	}
}

// BenchmarkResume measures a subscriber that joins with its last event id, by the kind of that id, and leaves without reading.
func BenchmarkResume(b *testing.B) {
	e := start(b, engine.Options{})
	var position string
	for i := range 1024 {
		id := fmt.Sprint("id", i)
		p := publish(b, e, "k", engine.Frame{Bytes: []byte("id: " + id + "\ndata: x\n\n"), IDAt: len("id: "), IDLen: len(id)})
		if i == 500 {
			position = p.String()
		}
	}
	for _, c := range []struct{ name, id string }{{"position", position}, {"own-id", "id500"}, {"unknown", "id5000"}} {
		b.Run(c.name, func(b *testing.B) {
			keys := []string{"k"}
			b.ReportAllocs()
			for b.Loop() {
				r := new(reader)
				if _, err := e.Subscribe(&r.sub, keys, c.id, r); err != nil {
					b.Fatal(err)
				}
				r.sub.Close(engine.ReasonGone)
			}
		})
	}
}

// BenchmarkReplay measures a subscriber that returns, reads the 1,000 events that it has missed, and leaves.
func BenchmarkReplay(b *testing.B) {
	const missed = 1000
	e := start(b, engine.Options{})
	last := publish(b, e, "k", frame).String()
	for range missed {
		publish(b, e, "k", frame)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := new(reader)
		r.join(b, e, "k", last)
		r.sub.Close(engine.ReasonGone)
		if r.read != missed {
			b.Fatal("replayed", r.read)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/missed, "ns/event")
}
