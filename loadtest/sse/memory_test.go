//go:build !race

package sse

import (
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
)

// An open stream costs k6 a goroutine, a buffer of 4 KiB, its connection and its EventSource. The server's side of the
// test is in the same process, and counted too.
func TestMemoryOfAStream(t *testing.T) {
	const streams, limit = 1000, 32 << 10
	var open atomic.Int64
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead+"data: {\"seq\":1}\n\n")
		open.Add(1)
		hold(c)
	})
	used := func() uint64 {
		var m runtime.MemStats
		for range 4 { // each collection halves stacks that a connection's start has made deep
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	v := newVU(t, map[string]any{"url": s.url, "streams": streams})
	before := used()
	var during uint64
	if err := v.rt.VU.Runtime().Set("measure", func() { during = used() }); err != nil {
		t.Fatal(err)
	}
	v.must(`
		const all = [];
		for (let i = 0; i < streams; i++) all.push(new EventSource(url + '/?key=' + i));
		const look = () => {
			if (all.some((es) => es.stats.events === 0)) return setTimeout(look, 5);
			measure();
			all.forEach((es) => es.close());
		};
		look();`)
	each := int64(during-before) / streams
	t.Logf("%d bytes a stream, both sides", each)
	if open.Load() != streams || each > limit {
		t.Errorf("%d streams of %d bytes each, both sides; want %d of at most %d", open.Load(), each, streams, limit)
	}
}
