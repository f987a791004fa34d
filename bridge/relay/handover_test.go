package relay

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/codec"
)

// fleetStore keeps what several relays publish.
type fleetStore struct {
	mu   sync.Mutex
	data []string
}

func (s *fleetStore) relay() *Relay {
	return New(Options{Remember: true, Refused: func(Message, error) {}, Publish: func(_ context.Context, messages []Message) []error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range messages {
			s.data = append(s.data, string(m.Event.Data))
		}
		return make([]error, len(messages))
	}})
}

func (s *fleetStore) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.data)
}

// leadership is the succession of two relays.
type leadership struct {
	take, given chan []byte
}

func newLeadership() *leadership { return &leadership{make(chan []byte), make(chan []byte, 1)} }

func (l *leadership) succession() *Succession {
	return &Succession{
		HandOver: func(_ context.Context, stop func() []byte) {
			<-l.take
			l.given <- stop()
		},
		TakeOver: func(context.Context) ([]byte, error) {
			l.take <- nil
			return <-l.given, nil
		},
	}
}

func message(data string) Message {
	return Message{Key: "k", Event: codec.Event{Data: []byte(data)}}
}

// Of two relays that get the same messages, one of them later than the other, each message is published once and in order, although
// the one hands over to the other. Equal messages are told apart by their time.
func TestHandOver(t *testing.T) {
	for name, dataOf := range map[string]func(int) string{
		"all differ": strconv.Itoa,
		"all equal":  func(int) string { return "tick" },
		"few differ": func(i int) string { return strconv.Itoa(i % 3) },
	} {
		lags := []time.Duration{0, 5 * time.Millisecond, -5 * time.Millisecond} // of the new leader
		if name == "all differ" {
			lags = append(lags, 50*time.Millisecond, -50*time.Millisecond)
		}
		for _, lag := range lags {
			t.Run(name+" "+lag.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var s fleetStore
					old, next, l := s.relay(), s.relay(), newLeadership()
					const n = 200
					var want []string
					var mu sync.Mutex
					receiving, stopped := false, false
					feed := func(delay time.Duration, put func(Message)) {
						time.Sleep(delay)
						for i := range n {
							put(message(dataOf(i)))
							time.Sleep(20 * time.Millisecond)
						}
					}
					for i := range n {
						want = append(want, dataOf(i))
					}
					var feeds sync.WaitGroup
					feeds.Go(func() {
						feed(max(-lag, 0), func(m Message) {
							mu.Lock()
							defer mu.Unlock()
							if !stopped {
								old.Put(m)
							}
						})
					})
					feeds.Go(func() {
						feed(max(lag, 0), func(m Message) {
							mu.Lock()
							defer mu.Unlock()
							if receiving {
								next.Put(m)
							}
						})
					})
					go old.HandOver(l.succession(), func() {
						mu.Lock()
						stopped = true
						mu.Unlock()
						old.Close()
					})
					time.Sleep(1003 * time.Millisecond) // never at the time of a message
					exact, err := next.TakeOver(t.Context(), l.succession(), func() error {
						mu.Lock()
						defer mu.Unlock()
						receiving = true
						return nil
					})
					if err != nil || !exact {
						t.Errorf("TakeOver: %v, %v", exact, err)
					}
					feeds.Wait()
					next.Close()
					if got := s.all(); !slices.Equal(got, want) {
						t.Errorf("%d messages, want %d", len(got), len(want))
					}
				})
			})
		}
	}
}

// A successor that cannot know what the other one has published says so.
func TestHandOverIsNotExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s fleetStore
		old, next, l := s.relay(), s.relay(), newLeadership()
		go old.HandOver(l.succession(), old.Close)
		exact, err := next.TakeOver(t.Context(), l.succession(), func() error {
			for i := range maxRecent + 1 {
				old.Put(message(strconv.Itoa(i)))
				synctest.Wait() // it is published
			}
			return nil
		})
		if exact || err != nil {
			t.Errorf("TakeOver: %v, %v", exact, err)
		}
		next.Close()
	})
}

// What a node has received in vain, because the other one did not answer, is not published.
func TestTakeOverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s fleetStore
		r := s.relay()
		fails := &Succession{TakeOver: func(context.Context) ([]byte, error) { return nil, errors.New("gone") }}
		if _, err := r.TakeOver(t.Context(), fails, func() error { r.Put(message("held")); return nil }); err == nil {
			t.Error("no error")
		}
		r.Put(message("later"))
		r.Close()
		if got := s.all(); !slices.Equal(got, []string{"later"}) {
			t.Errorf("%q", got)
		}
	})
}
