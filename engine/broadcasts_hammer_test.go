package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestBroadcastHammer has subscribers of several keys, some of which come back
// with their last positions again and again, while PublishAll and Publish run:
// each broadcast comes once to each subscriber, in order, from its first one on.
func TestBroadcastHammer(t *testing.T) {
	const subscribers, keys, total = 8, 5, 400
	e := start(t, Options{Key: KeyOptions{History: 1 << 16}})
	stop := make(chan struct{})
	var pubs, subs, ready sync.WaitGroup
	for worker := range 2 {
		pubs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 5))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := e.Publish(fmt.Sprint(rng.IntN(keys)), text("one")); err != nil {
					t.Error(err)
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	ready.Add(subscribers)
	for i := range subscribers {
		subs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 6))
			names := make([]string, 0, keys)
			for _, k := range rng.Perm(keys)[:2+rng.IntN(keys-1)] {
				names = append(names, fmt.Sprint(k))
			}
			id, last, count := "", uint64(0), 0
			for first := true; ; first = false {
				s, wake := new(Subscriber), make(chanSink, 1)
				result, err := e.Subscribe(s, names, id, wake)
				if err != nil || result == ResumedGap {
					t.Errorf("resume of %s after %s: %v, %v", names, id, result, err)
				}
				if first {
					ready.Done()
				}
				for left := 1 + rng.IntN(200); last < total && (i%2 == 0 || left > 0); left-- {
					it, ok := s.Next(true)
					for !ok {
						if s.Release() {
							<-wake
						}
						it, ok = s.Next(true)
					}
					if it.Gap != nil {
						t.Errorf("gap %+v", it.Gap)
						return
					}
					if rng.IntN(8) == 0 { // the connection takes no more: once again
						s.Unread([]Item{it})
						continue
					}
					if it.Event.all == 0 {
						continue
					}
					n := binary.BigEndian.Uint64(it.Event.Bytes()[2:])
					if count > 0 && n != last+1 {
						t.Errorf("subscriber %d: broadcast %d follows %d", i, n, last)
					}
					last, count = n, count+1
				}
				id = string(s.Positions(nil))
				s.Close(ReasonGone)
				if last == total {
					if count != total {
						t.Errorf("subscriber %d got %d of %d broadcasts", i, count, total)
					}
					return
				}
			}
		})
	}
	ready.Wait()
	for n := range uint64(total) {
		if _, _, err := e.PublishAll(number(n + 1)); err != nil {
			t.Error(err)
		}
		if n%4 == 0 {
			runtime.Gosched()
			time.Sleep(100 * time.Microsecond)
		}
	}
	subs.Wait()
	close(stop)
	pubs.Wait()
}
