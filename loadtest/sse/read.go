package sse

import (
	"strconv"
	"sync"
	"time"

	"go.k6.io/k6/metrics"

	"fanfare/codec"
)

// chunk has the buffers of one read. A stream that waits has none.
type chunk struct {
	bytes   [readBuffer]byte
	live    []float64 // latencies in milliseconds
	replay  []float64
	message []message
}

// message is an event on its way to JavaScript.
type message struct{ kind, data, lastEventID string }

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// readOnce waits for bytes. It measures and passes on the events that they complete.
func (s *stream) readOnce(c *connection) error {
	var k *chunk
	n, err := c.read(func() []byte {
		k = chunks.Get().(*chunk)
		return k.bytes[:s.opts.readSize()]
	})
	if k == nil {
		return err
	}
	if n > 0 {
		if failure := s.digest(c, k, n); failure != nil {
			err = failure
		}
	}
	batch := k.message
	k.live, k.replay, k.message = k.live[:0], k.replay[:0], nil
	chunks.Put(k)
	if len(batch) > 0 {
		s.deliver(batch)
	}
	s.shutIfThrough()
	if err == nil && s.opts.slow() {
		s.throttle(n)
	}
	return err
}

// readSize is how many bytes are read at once. A slow consumer with a read rate gets the bytes of a tenth of a second.
func (o *options) readSize() int {
	if o.readRate > 0 {
		return max(1, min(readBuffer, int(o.readRate/10)))
	}
	return readBuffer
}

// isPosition reports whether the message is the first event of a Fanfare stream, which has only an id and was not published.
func isPosition(m codec.Message) bool { return string(m.Type) == "position" && len(m.Data) == 0 }

// digest parses the chunk and records what it contains.
func (s *stream) digest(c *connection, k *chunk, n int) error {
	now := time.Now()
	first := c.first
	var events, misrouted, malformed int64
	var seen counts
	s.mu.Lock()
	err := s.parser.Feed(k.bytes[:n], func(m codec.Message) {
		if isPosition(m) {
			return
		}
		events++
		c.first = true
		if s.opts.measure != nil {
			got := s.opts.measure.observe(m.Data, m.Named && string(m.Type) != "message", &s.seqs, now)
			seen.add(got.counts)
			switch {
			case got.malformed:
				malformed++
			case got.misrouted:
				misrouted++
			case got.published.IsZero():
			case c.replay && got.published.Before(c.opened):
				k.replay = append(k.replay, metrics.D(now.Sub(got.published)))
			default:
				k.live = append(k.live, metrics.D(now.Sub(got.published)))
			}
		}
		if s.source.heard(m.Type) {
			k.message = append(k.message, message{string(m.Type), string(m.Data), string(m.LastEventID)})
		}
	})
	seen.lost += s.settle(now, false)
	s.stats.Events += events
	s.stats.Lost += seen.lost
	s.stats.Duplicate += seen.duplicate
	s.stats.Reordered += seen.reordered
	s.stats.Misrouted += misrouted
	s.stats.Malformed += malformed
	s.stats.Bytes += int64(n)
	s.mu.Unlock()

	m, tags, meta := s.hub.metrics, s.opts.tags.Tags, s.opts.tags.Metadata
	s.hub.reporter.gather(func(g gathering) {
		g.count(m.dataReceived, tags, meta, int64(n))
		g.count(m.event, tags, meta, events)
		g.seen(m, tags, meta, seen)
		g.count(m.misrouted, tags, meta, misrouted)
		g.count(m.malformed, tags, meta, malformed)
		if c.first && !first {
			g.sample(m.firstEvent, tags, meta, now, metrics.D(now.Sub(c.start)))
		}
		for _, ms := range k.live {
			g.sample(m.eventLatency, s.live, meta, now, ms)
		}
		for _, ms := range k.replay {
			g.sample(m.eventLatency, s.replay, meta, now, ms)
		}
	})
	return err
}

// deliver passes events to the listeners. It waits while too many are on their way.
func (s *stream) deliver(batch []message) {
	if s.batches == nil {
		s.batches = make(chan struct{}, maxBatches)
	}
	if s.source.settled() {
		select {
		case s.batches <- struct{}{}:
		case <-s.done:
			return
		}
	} else {
		// The script may add its listeners before it returns to the event loop, which takes a while on a busy machine. Or it may
		// be in sleep(); then it is unknown whether it ever will, so reading continues after a time.
		select {
		case s.batches <- struct{}{}:
		case <-s.unsettled():
			s.pass(batch)
			return
		case <-s.done:
			return
		}
	}
	tokens := s.batches
	s.hub.queue(func() error {
		defer func() { <-tokens }()
		return s.source.dispatch(batch)
	})
}

// settling is how long a stream waits, in all, for the script to return to the event loop.
const settling = 2 * time.Second

// unsettled is closed when the script has had the time of settling, from the first call on.
func (s *stream) unsettled() <-chan time.Time {
	if s.settleBy == nil {
		c := make(chan time.Time)
		time.AfterFunc(settling, func() { close(c) })
		s.settleBy = c
	}
	return s.settleBy
}

// pass records events that are not passed on. If listeners for them are added later, a warning is logged.
func (s *stream) pass(batch []message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passed == nil {
		s.passed = make(map[string]int, 1)
	}
	for _, m := range batch {
		if _, known := s.passed[m.kind]; known || len(s.passed) < maxKeys {
			s.passed[m.kind]++
		}
	}
}

// passedTo is how many events were not passed to the listeners that exist now.
func (s *stream) passedTo(types map[string]struct{}) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind := range types {
		n += s.passed[kind]
	}
	s.passed = nil
	return n
}

// throttle pauses a slow consumer that has read n bytes.
func (s *stream) throttle(n int) {
	pause := s.opts.readDelay
	if rate := s.opts.readRate; rate > 0 {
		pause = max(pause, time.Duration(float64(n)/rate*float64(time.Second)))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.done:
	}
}

func statusText(status int) string { return strconv.Itoa(status) }
