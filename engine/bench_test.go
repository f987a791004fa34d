package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// readSink is the least that an owner can do: it reads what there is in Ready.
type readSink struct {
	s    Subscriber
	read int
}

func (r *readSink) Ready() {
	for {
		for _, ok := r.s.Next(true); ok; _, ok = r.s.Next(true) {
			r.read++
		}
		if r.s.Closing() != 0 || r.s.Release() {
			return
		}
	}
}

func (r *readSink) join(b *testing.B, e *Engine, keys ...string) {
	if _, err := e.Subscribe(&r.s, keys, "", r); err != nil {
		b.Fatal(err)
	}
	r.Ready()
}

var benchFrame = stamped("id: ", "\ndata: "+strings.Repeat("x", 180)+"\n\n")

// BenchmarkPublish is the call's cost for a publisher; the wakers work meanwhile.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 1, 100, 10_000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			e := start(b, Options{})
			sinks := make([]readSink, n)
			for i := range sinks {
				sinks[i].join(b, e, "k")
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Publish("k", benchFrame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		e := start(b, Options{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := e.Publish("k", benchFrame); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func BenchmarkPublishAll(b *testing.B) {
	e := start(b, Options{})
	for i := range 1000 {
		if _, err := e.Publish(fmt.Sprint(i), benchFrame); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.PublishAll(benchFrame); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNotify is a wake-up that finds the subscriber awake.
func BenchmarkNotify(b *testing.B) {
	e := start(b, Options{})
	s := subscribe(b, e, "", "k")
	for b.Loop() {
		s.Notify()
	}
}

func BenchmarkNext(b *testing.B) {
	e := start(b, Options{})
	s := subscribe(b, e, "", "k")
	for range 1024 {
		if _, err := e.Publish("k", benchFrame); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := s.Next(true); !ok {
				s.cursors[0].next = 1
			}
		}
	})
	b.Run("lapped", func(b *testing.B) {
		publish(b, e, "k", 1024)
		b.ReportAllocs()
		for b.Loop() {
			s.cursors[0].next = 1
			if it, ok := s.Next(true); !ok || it.Gap == nil {
				b.Fatal(it, ok)
			}
		}
	})
	b.Run("nothing", func(b *testing.B) {
		drain(s)
		b.ReportAllocs()
		for b.Loop() {
			if it, ok := s.Next(true); ok {
				b.Fatal(it)
			}
		}
	})
}

func BenchmarkJoinLeave(b *testing.B) {
	for _, n := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			e := start(b, Options{Key: KeyOptions{MaxSubscribers: 1 << 20}})
			for range n {
				subscribe(b, e, "", "k")
			}
			sink, keys := new(countSink), []string{"k"}
			b.ReportAllocs()
			for b.Loop() {
				s := new(Subscriber)
				if _, err := e.Subscribe(s, keys, "", sink); err != nil {
					b.Fatal(err)
				}
				s.Close(ReasonGone)
			}
		})
	}
}

func BenchmarkKeyCreateRetire(b *testing.B) {
	e := start(b, Options{SweepInterval: time.Hour})
	b.ReportAllocs()
	for b.Loop() {
		k, err := e.lookup("k")
		if err != nil {
			b.Fatal(err)
		}
		if !k.retire() {
			b.Fatal("in use")
		}
		e.remove(k)
	}
}

func BenchmarkResume(b *testing.B) {
	e := start(b, Options{})
	var last Position
	for i := range 1024 {
		p, err := e.Publish("k", own(fmt.Sprint("id", i)))
		if err != nil {
			b.Fatal(err)
		}
		last = p.Position
	}
	for _, c := range []struct{ name, id string }{
		{"position", Position{last.Epoch, 500}.String()},
		{"own-id", "id500"},
		{"unknown", "id5000"},
	} {
		b.Run(c.name, func(b *testing.B) {
			sink, keys := new(countSink), []string{"k"}
			b.ReportAllocs()
			for b.Loop() {
				s := new(Subscriber)
				if _, err := e.Subscribe(s, keys, c.id, sink); err != nil {
					b.Fatal(err)
				}
				s.Close(ReasonGone)
			}
		})
	}
}
