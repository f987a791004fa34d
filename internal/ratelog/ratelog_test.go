package ratelog

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneMessageOfEachKindPerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
		l := New(time.Minute)
		warn := func(kind, msg string) { l.Log(logger, slog.LevelWarn, kind, msg, "n", 1) }

		warn("a", "first")
		warn("a", "suppressed")
		warn("b", "other kind")
		time.Sleep(time.Minute - time.Nanosecond)
		warn("a", "suppressed")
		time.Sleep(time.Nanosecond)
		warn("a", "second")
		time.Sleep(time.Minute)
		warn("a", "third")

		want := "level=WARN msg=first n=1\n" +
			"level=WARN msg=\"other kind\" n=1\n" +
			"level=WARN msg=second n=1 suppressed=2\n" +
			"level=WARN msg=third n=1\n"
		if out.String() != want {
			t.Errorf("logged\n%swant\n%s", out.String(), want)
		}
	})
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func TestNumberOfKindsIsBounded(t *testing.T) {
	l := New(time.Hour)
	for i := range 10 * maxKinds {
		if _, ok := l.Allow(fmt.Sprint(i)); !ok {
			t.Fatalf("kind %d: the first message was suppressed", i)
		}
		if len(l.kinds) > maxKinds {
			t.Fatalf("%d kinds are kept, want at most %d", len(l.kinds), maxKinds)
		}
	}
}

// Of many goroutines that log the same kind at once one passes, and the next one tells how many did not.
func TestConcurrentMessagesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const goroutines, each = 8, 500
		l := New(time.Minute)
		var passed atomic.Int64
		var all sync.WaitGroup
		for range goroutines {
			all.Go(func() {
				for range each {
					if _, ok := l.Allow("a"); ok {
						passed.Add(1)
					}
				}
			})
		}
		all.Wait()
		time.Sleep(time.Minute)
		suppressed, ok := l.Allow("a")
		if passed.Load() != 1 || !ok || suppressed != goroutines*each-1 {
			t.Errorf("%d passed, then Allow = %d, %v; want 1, then %d, true", passed.Load(), suppressed, ok, goroutines*each-1)
		}
	})
}
