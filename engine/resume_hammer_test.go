package engine

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestResumeHammer has two clients reconnect 500 times each at random while publishers run. The history is so short
// that it has often lost the client's position. Each time the client resumes with the last position that it has seen.
// Each sequence arrives once and in order, or a gap accounts for it.
func TestResumeHammer(t *testing.T) {
	const clients, resumes, publishers = 2, 500, 2
	e := start(t, Options{Key: KeyOptions{History: 32}})
	stop := make(chan struct{})
	var pubs, subs sync.WaitGroup
	for range publishers {
		pubs.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := e.Publish("k", numberFrame(n)); err != nil {
					t.Error(err)
					return
				}
				if n%16 == 0 {
					time.Sleep(100 * time.Microsecond)
				}
			}
		})
	}
	for client := range clients {
		subs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 3))
			first := new(Subscriber)
			if _, err := e.Subscribe(first, []string{"k"}, "", make(chanSink, 1)); err != nil {
				t.Error(err)
				return
			}
			last := Position{first.cursors[0].key.epoch, first.cursors[0].next - 1}
			begin := last.Seq
			first.Close(ReasonGone)
			var got, missed int64
			gaps := map[GapReason]int{}
			exact := 0
			for range resumes {
				s, ready := new(Subscriber), make(chanSink, 1)
				result, err := e.Subscribe(s, []string{"k"}, last.String(), ready)
				if err != nil {
					t.Error(err)
					return
				}
				if result == ResumedExact {
					exact++
					last, _ = ParsePosition(string(s.Positions(nil))) // the key may have begun another life, see I12
				}
				for left := rng.IntN(60); left > 0; {
					it, ok := s.Next(true)
					switch {
					case !ok:
						if s.Release() {
							<-ready
						}
						continue
					case it.Gap != nil:
						gaps[it.Gap.Reason]++
						if want := int64(it.Gap.Next.Seq - last.Seq); it.Gap.Missed != want || it.Gap.After != last.String() || want <= 0 {
							t.Errorf("gap %+v after %v", it.Gap, last)
						}
						if result == ResumedExact && it.Gap.Reason != GapLag {
							t.Errorf("gap %+v after an exact resume", it.Gap)
						}
						missed += it.Gap.Missed
						last = it.Gap.Next
					default:
						if last.Seq++; it.Event.Seq() != last.Seq {
							t.Errorf("event %d, want %d", it.Event.Seq(), last.Seq)
							last.Seq = it.Event.Seq()
						}
						got++
					}
					left--
				}
				s.Close(ReasonGone)
				if rng.IntN(4) == 0 {
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
				}
			}
			if got+missed != int64(last.Seq-begin) {
				t.Errorf("client %d: %d got + %d missed of %d", client, got, missed, last.Seq-begin)
			}
			if exact == 0 || gaps[GapHistory] == 0 {
				t.Errorf("client %d: %d exact resumes, gaps %v: adjust the test", client, exact, gaps)
			}
			t.Logf("client %d: %d exact of %d resumes, %d got, %d missed, gaps %s", client, exact, resumes, got, missed, fmt.Sprint(gaps))
		})
	}
	subs.Wait()
	close(stop)
	pubs.Wait()
	if n := e.CountAll(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}
