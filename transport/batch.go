package transport

import "fanfare/engine"

const (
	// batchBytes and batchEvents bound one write of several frames. 64 kB is
	// what a loopback or LAN socket takes at once; more would only be held.
	batchBytes  = 64 << 10
	batchEvents = 256
)

// batch is memory for one write of several frames.
type batch struct {
	buf   []byte
	items []engine.Item
	ends  []int // ends[i] is the end of items[i] in buf
}

func (b *batch) add(st *stream, it engine.Item) {
	if st.multi {
		b.buf = appendEvent(b.buf, it.Event, &st.sub)
	} else {
		b.buf = append(b.buf, it.Event.Bytes()...)
	}
	b.items = append(b.items, it)
	b.ends = append(b.ends, len(b.buf))
}

func (b *batch) fits(it engine.Item) bool {
	return len(b.items) < batchEvents && len(b.buf)+len(it.Event.Bytes()) <= batchBytes
}

// batches is a fixed number of batches, made when first needed. A stream holds
// one only while it copies and writes without blocking, never while it waits:
// that is what bounds the memory of a reconnect storm, whatever the number of
// clients that resume at once.
type batches struct {
	free chan *batch
}

func newBatches(n int) *batches {
	b := &batches{free: make(chan *batch, n)}
	for range n {
		b.free <- nil
	}
	return b
}

func (p *batches) get() *batch {
	b := <-p.free
	if b == nil {
		b = &batch{buf: make([]byte, 0, batchBytes), items: make([]engine.Item, 0, batchEvents), ends: make([]int, 0, batchEvents)}
	}
	return b
}

// put returns b, without references to the events that it held and without
// memory that one oversized event of many keys has made it take.
func (p *batches) put(b *batch) {
	clear(b.items)
	b.items, b.ends, b.buf = b.items[:0], b.ends[:0], b.buf[:0]
	if cap(b.buf) > 2*batchBytes {
		b.buf = make([]byte, 0, batchBytes)
	}
	p.free <- b
}
