package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// errQueueFull is an ErrAway.
var errQueueFull = fmt.Errorf("%w (the queue of events that wait for it is full: awayBytes)", ErrAway)

// Bounds of one batch of queued messages. queueWindow is how far a batch looks ahead for messages of other keys.
const (
	queueBatch  = 256
	queueWindow = 4096
)

// queuePause is how often the queue looks whether the broker is back.
const queuePause = 100 * time.Millisecond

// queue holds messages while the broker is away (Options.Queue), in the order in which they came.
//
// Nothing overtakes a queued message of the same key. A publish joins the queue if a message of one of its keys is queued
// (a broadcast is of every key). A batch has only one message of each key, so that the log cannot store the second one
// without the first; the next one follows when the log has answered.
type queue struct {
	n *Node

	mu         sync.Mutex
	entries    []*queued // with those that are final and not removed yet
	first      int       // the entries before it are final
	waiting    int       // entries that are not final
	bytes      int64     // of the waiting ones
	keys       map[string]int
	broadcasts int
	running    bool // drain runs
	closed     bool
	ended      bool          // drainAndClose was called
	empty      chan struct{} // closed when nothing waits any more; made by drainAndClose
}

// queued is one message. Everything is guarded by queue.mu.
type queued struct {
	m     Message // with its own copy of the frame
	id    string  // its first ID, see idAfter
	final bool
	call  *queuedCall
	index int // in call.results
}

// queuedCall is a publish whose messages are queued, and which may be waiting for them.
type queuedCall struct {
	results []Result
	left    int           // messages that are not final
	done    chan struct{} // closed when left is 0
}

// overhead is what a queued message takes besides its bytes.
const overhead = 256

func (q *queued) size() int64 { return int64(len(q.m.Frame.Bytes)+len(q.m.Key)+len(q.m.ID)) + overhead }

func (q *queue) init(n *Node) { q.n, q.keys = n, map[string]int{} }

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// join queues the pending messages of a publish if one of them must not be sent before a queued one. If the broker is
// there, it waits for the results; otherwise, or if ctx is done, they are Queued.
func (q *queue) join(ctx context.Context, p *publication) bool {
	q.mu.Lock()
	if !slices.ContainsFunc(p.pending, func(at int) bool { return q.blocks(&p.messages[at]) }) {
		q.mu.Unlock()
		return false
	}
	call := q.addLocked(p)
	q.mu.Unlock()
	if p.n.o.Log.Connected() {
		select {
		case <-call.done:
		case <-ctx.Done():
		}
	}
	q.report(call, p)
	return true
}

// blocks reports whether the message must wait for queued ones. The caller holds mu.
func (q *queue) blocks(m *Message) bool {
	return q.waiting > 0 && (q.broadcasts > 0 || m.Op == OpBroadcast || q.keys[m.Key] > 0)
}

// add queues the pending messages of a publish.
func (q *queue) add(p *publication) {
	q.mu.Lock()
	call := q.addLocked(p)
	q.mu.Unlock()
	q.report(call, p)
}

// report sets the results of a publish to what is known now.
func (q *queue) report(call *queuedCall, p *publication) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range p.pending {
		p.results[at] = call.results[at]
	}
	p.pending = nil
}

// addLocked queues the pending messages of a publish, and starts to drain. The caller holds mu.
func (q *queue) addLocked(p *publication) *queuedCall {
	call := &queuedCall{results: make([]Result, len(p.messages)), done: make(chan struct{})}
	for _, at := range p.pending {
		e := &queued{m: p.messages[at], id: cmp.Or(p.ids[at], p.messages[at].ID), call: call, index: at}
		if q.closed || q.bytes+e.size() > q.n.o.QueueBytes {
			call.results[at] = Result{Err: errQueueFull}
			if p.sent[at] {
				call.results[at].Err = ErrUnknown
			}
			continue
		}
		e.m.Frame.Bytes = slices.Clone(e.m.Frame.Bytes)
		call.results[at] = Result{Queued: true}
		call.left++
		q.entries = append(q.entries, e)
		q.waiting++
		q.bytes += e.size()
		if e.m.Op == OpBroadcast {
			q.broadcasts++
		} else {
			q.keys[e.m.Key]++
		}
	}
	if call.left == 0 {
		close(call.done)
	} else if !q.running && q.n.spawn(q.drain) {
		q.running = true
		q.n.log.Warn("the broker cannot be reached: events are queued in memory", "awayBytes", q.n.o.QueueBytes)
	}
	return call
}

// drain appends what is queued as soon as the broker is back. It ends when nothing is left.
func (q *queue) drain() {
	pause := time.NewTicker(queuePause)
	defer pause.Stop()
	for {
		failed := true
		if q.canAppend() {
			batch := q.next()
			if batch == nil {
				return
			}
			failed = !q.send(batch)
		}
		if failed {
			select {
			case <-pause.C:
			case <-q.n.ctx.Done():
				return
			}
		}
	}
}

func (q *queue) canAppend() bool {
	ctx, cancel := context.WithTimeout(q.n.ctx, q.n.o.PublishTimeout)
	defer cancel()
	return q.n.canAppend(ctx)
}

// next returns the next batch: the oldest message of each key, and a broadcast only alone. It returns nil, and drain must
// end, if nothing is queued.
func (q *queue) next() []*queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.first < len(q.entries) && q.entries[q.first].final {
		q.entries[q.first] = nil
		q.first++
	}
	if q.waiting == 0 {
		q.entries, q.first, q.running = nil, 0, false
		q.n.log.Info("nothing is queued any more")
		if q.empty != nil {
			close(q.empty)
			q.empty = nil
		}
		return nil
	}
	if q.first > len(q.entries)/2 { // fewer than half are left: move them
		q.entries, q.first = slices.Clone(q.entries[q.first:]), 0
	}
	var batch []*queued
	keys := map[string]bool{}
	for _, e := range q.entries[q.first:min(len(q.entries), q.first+queueWindow)] {
		switch {
		case e.final || keys[e.m.Key] && e.m.Op != OpBroadcast:
			continue
		case e.m.Op == OpBroadcast && len(keys) == 0:
			return []*queued{e}
		case e.m.Op == OpBroadcast || len(batch) == queueBatch:
			return batch
		}
		keys[e.m.Key] = true
		batch = append(batch, e)
	}
	return batch
}

// send appends a batch and reports whether all of its messages are final.
func (q *queue) send(batch []*queued) bool {
	ctx, cancel := context.WithTimeout(q.n.ctx, q.n.o.PublishTimeout)
	defer cancel()
	messages := make([]Message, len(batch))
	results := make([]Result, len(batch))
	for i, e := range batch {
		messages[i] = e.m
	}
	places := q.n.places()
	q.n.append(ctx, messages, results)
	all := true
	for i, e := range batch {
		r := results[i]
		if r.Err == nil {
			var passed uint64
			if r, passed = q.n.confirm(ctx, &messages[i], r, places); passed != 0 && !results[i].Duplicate {
				e.m.ID = idAfter(e.id, passed)
			}
		}
		switch {
		case r.Err == nil || errors.Is(r.Err, ErrTooLarge):
			q.finish(e, r)
		default:
			all = false // unknown, away or full: it keeps its place
		}
	}
	return all
}

// finish makes a message final.
func (q *queue) finish(e *queued, r Result) {
	if r.Err != nil {
		q.n.metrics.lost.Inc()
		q.n.limited.Log(q.n.log, slog.LevelError, "queue", "a queued event is lost: the log refuses it", "key", e.m.Key, "error", r.Err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	e.final = true
	q.waiting--
	q.bytes -= e.size()
	if e.m.Op == OpBroadcast {
		q.broadcasts--
	} else if q.keys[e.m.Key]--; q.keys[e.m.Key] == 0 {
		delete(q.keys, e.m.Key)
	}
	e.call.results[e.index] = r
	if e.call.left--; e.call.left == 0 {
		close(e.call.done)
	}
	e.m.Frame.Bytes = nil
}

// drainAndClose refuses further messages, and waits for the queued ones until ctx is done. It returns how many are left. They are lost.
func (q *queue) drainAndClose(ctx context.Context) (lost int) {
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		return 0 // an earlier call has reported them
	}
	q.closed, q.ended = true, true
	var empty chan struct{}
	if q.running {
		empty = make(chan struct{})
		q.empty = empty
	}
	q.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
		}
	}
	if lost = q.len(); lost > 0 {
		q.n.metrics.lost.Add(float64(lost))
		q.n.log.Error("queued events are lost: the log did not store them before the end", "events", lost)
	}
	return lost
}
