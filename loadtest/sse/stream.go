package sse

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.k6.io/k6/metrics"

	"fanfare/codec"
)

// States of an EventSource (WHATWG HTML 9.2.2).
const (
	connecting = 0
	open       = 1
	closed     = 2
)

// maxBatches bounds how many reads' events may wait for the event loop. If the listeners of a stream are slower than its events,
// the stream is not read until they have caught up.
const maxBatches = 16

// stream is the part of an EventSource that needs no JavaScript. One goroutine at a time works for it, and owns conn and the
// fields of its role. connect and read start each other as new goroutines, so the deep stack of a handshake is not kept.
type stream struct {
	hub    *hub
	source *source // only its methods heard and settled are used, and the tasks that it queues
	opts   *options
	live   *metrics.TagSet // the stream's tags with phase: live
	replay *metrics.TagSet
	done   chan struct{} // closed by shut

	// The stream's goroutine only.
	failed   int // failed attempts since it was last open
	attempts int // attempts to reconnect
	lostAt   time.Time
	settleBy <-chan time.Time // see unsettled
	batches  chan struct{}    // a token for each batch on its way to the event loop; made with the first

	mu     sync.Mutex // guards the rest; never held while anything blocks
	shutIt bool       // shut was called, by the script or because the iteration is over
	cancel context.CancelFunc
	conn   net.Conn // to wake a read
	parser codec.Parser
	seqs   sequences
	stats  stats
	opened time.Time      // when it was open for the first time
	leftAt time.Time      // when leave was called
	late   *time.Timer    // closes the stream when leaving takes too long
	passed map[string]int // events that listeners may have missed, by type; see deliver
}

// errEnded is the error of a stream whose response came to its end.
var errEnded = errors.New("the server ended the stream")

// stats are the counts of a stream so far.
type stats struct {
	Events, Lost, Duplicate, Reordered, Misrouted, Malformed, Reconnects, Bytes int64
}

func newStream(h *hub, src *source, o *options) *stream {
	s := &stream{
		hub: h, source: src, opts: o, done: make(chan struct{}),
		live: o.tags.Tags.With("phase", "live"), replay: o.tags.Tags.With("phase", "replay"),
		parser: codec.Parser{MaxBytes: o.maxEventBytes},
	}
	if o.lastEventID != "" {
		_ = s.parser.Feed([]byte("id: "+o.lastEventID+"\n\n"), nil) // as if an earlier connection had received it
		s.parser.Reset()
	}
	return s
}

// shut ends the stream permanently. It may be called from any goroutine, any number of times.
func (s *stream) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shutIt {
		return
	}
	s.shutIt = true
	close(s.done)
	if s.cancel != nil {
		s.cancel()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// lastEventID is the id that the stream would send if it reconnected now.
func (s *stream) lastEventID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.parser.LastEventID())
}

func (s *stream) snapshot() stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.stats
	n.Lost += s.seqs.pending // as of now
	return n
}

// connect makes one attempt and continues with read, retry or end.
func (s *stream) connect() {
	ctx, cancel := context.WithCancel(s.hub.ctx)
	defer cancel()
	s.mu.Lock()
	s.cancel = cancel
	gone := s.shutIt
	s.mu.Unlock()
	if gone {
		s.end(nil)
		return
	}
	var id string
	if s.opts.sendLastEventID || s.attempts == 0 {
		id = s.lastEventID()
	}
	begin := time.Now()
	c, err := s.hub.connector.connect(ctx, s.opts, id)
	if err != nil {
		if ctx.Err() != nil { // the end was asked for, so the attempt counts as failed only after a long wait
			if time.Since(begin) >= s.hub.module.unanswered {
				s.countAttempt(nil, errUnanswered, begin)
			}
			s.end(nil)
			return
		}
		s.failed++
		s.countAttempt(c, err, begin)
		var refused *responseError
		s.retry(err, errors.As(err, &refused))
		return
	}
	c.header = nil // saves memory with 10,000 streams

	s.mu.Lock()
	s.cancel = nil
	if s.opened.IsZero() {
		s.opened = c.opened
	}
	if gone = s.shutIt; !gone {
		s.conn = c.conn
		if s.attempts > 0 {
			s.stats.Reconnects++
		}
	}
	s.mu.Unlock()
	if gone {
		c.close()
		s.end(nil)
		return
	}
	s.failed = 0
	s.countAttempt(c, nil, begin)
	s.source.opened(c.origin)
	s.shutIfThrough()
	go s.read(c)
}

// read reads an open stream to its end.
func (s *stream) read(c *connection) {
	var err error
	for err == nil {
		err = s.readOnce(c)
	}
	c.close()
	s.mu.Lock()
	s.conn = nil
	gone := s.shutIt
	s.parser.Reset()
	s.mu.Unlock()

	reason := reasonOf(err)
	if err == io.EOF {
		err = errEnded
	}
	s.lostAt = time.Now()
	s.hub.reporter.gather(func(g gathering) {
		g.opened(-1)
		if !gone {
			g.count(s.hub.metrics.disconnects, s.opts.tags.Tags.With("reason", reason), s.opts.tags.Metadata, 1)
		}
	})
	var unreadable *codec.Error
	s.retry(err, errors.As(err, &unreadable))
}

// retry waits and starts connect again, or ends the stream.
func (s *stream) retry(err error, fatal bool) {
	select {
	case <-s.done:
		s.end(nil)
		return
	default:
	}
	o := s.opts
	if fatal || !o.reconnect || o.maxReconnects >= 0 && s.attempts >= o.maxReconnects {
		s.end(err)
		return
	}
	s.attempts++
	s.source.failed(err, connecting)
	pause := time.NewTimer(s.pause())
	defer pause.Stop()
	select {
	case <-s.done:
		s.end(nil)
	case <-pause.C:
		go s.connect()
	}
}

// pause is the time to wait before the next attempt: retry, doubled by each failed attempt after the first, and spread by jitter.
func (s *stream) pause() time.Duration {
	s.mu.Lock()
	base, given := s.parser.Retry()
	s.mu.Unlock()
	if !given {
		base = s.opts.retry
	}
	pause, limit := base, max(base, s.opts.maxRetry)
	for n := 1; n < s.failed && pause < limit; n++ {
		pause = min(2*max(pause, time.Millisecond), limit)
	}
	spread := float64(pause) * (1 + s.opts.jitter*(2*rand.Float64()-1))
	if spread >= math.MaxInt64 { // a retry of centuries
		return math.MaxInt64
	}
	return time.Duration(spread)
}

// end ends the stream. err is nil if the end was asked for.
func (s *stream) end(err error) {
	s.reconcile()
	if err != nil {
		s.source.failed(err, closed)
	}
	s.hub.remove(s)
}

func (s *stream) countAttempt(c *connection, err error, begin time.Time) {
	s.hub.reporter.gather(func(g gathering) {
		g.attempt(s.hub.metrics, s.opts.tags, c, err, begin)
		if err != nil {
			return
		}
		now, m, tags, meta := time.Now(), s.hub.metrics, s.opts.tags.Tags, s.opts.tags.Metadata
		if s.attempts > 0 && !s.lostAt.IsZero() {
			g.sample(m.reconnectDuration, tags, meta, now, metrics.D(c.opened.Sub(s.lostAt)))
		}
	})
}
