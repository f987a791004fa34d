//go:build !race

package transport

import (
	"net"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

// TestStalledStreamsShareTheFrame: a thousand streams of two keys, each cut in the middle of an event of 1 MB, hold the one
// frame and an id each: not a copy of what is in front of the id.
func TestStalledStreamsShareTheFrame(t *testing.T) {
	plainOnly(t)
	const streams, most = 1000, 6 << 10 // bytes of Go memory for each: its goroutine's stack among them
	r := startRig(t, viaFast, rigOptions{
		Options: Options{PingInterval: time.Hour, WriteTimeout: time.Hour},
		Engine:  engine.Options{Key: engine.KeyOptions{History: 8, HistoryBytes: 64 << 20}},
	})
	for range streams {
		w := r.dial()
		if err := w.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		w.Send(r.get("connectKey=a&connectKey=b"))
		w.ReadHead()
	}
	r.waitCount("b", streams)
	heap, stack := goMemory()
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = 'x'
	}
	for _, key := range []string{"a", "b", "a", "b"} {
		r.must(key, codec.Event{Data: large})
	}
	eventually.Equal(t, "all streams are blocked", streams, r.blocked)
	kept := r.eng.Stats().HistoryBytes
	if kept < 4<<20 {
		t.Fatalf("%d bytes of history", kept)
	}
	var per int64
	if !eventually.Within(30*time.Second, func() bool {
		h, s := goMemory()
		per = (h + s - heap - stack - kept) / streams
		return per < most
	}) {
		t.Errorf("%d bytes of Go memory for each stalled stream, want less than %d", per, most)
	}
	t.Logf("%d bytes for each stalled stream", per)
}
