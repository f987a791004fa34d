package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fanfare/engine"
)

// Times of a publish. A broker that has lost its leader answers nothing for some seconds and may have dropped what it got,
// so a publish is repeated before the timeout. An attempt is longer than the one before, since a slow broker may still
// answer.
const (
	firstAttempt  = 2 * time.Second
	minRetryPause = 50 * time.Millisecond
	maxRetryPause = time.Second
)

// Publish appends the messages to the log in their order, each to its partition, and sets results[i] for messages[i]. It
// returns when every message is stored or has failed, at the latest after PublishTimeout.
//
// While it waits, it repeats what the log has not stored or not confirmed, with the message's ID or one of its own, so that
// the log stores it once. It does not repeat a message if a later one of the same key is stored already: events of one key
// are never stored in another order than that of messages.
//
// With Options.Queue, messages wait in memory while the broker is away, and so do later ones of the same keys: see
// Result.Queued. A queued message for which an answer was lost may be stored twice, if the broker was away for longer than
// the log's duplicate window.
func (n *Node) Publish(ctx context.Context, messages []Message, results []Result) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, n.o.PublishTimeout)
	defer cancel()
	stop := context.AfterFunc(n.ctx, cancel)
	defer stop()

	p := publication{n: n, messages: slices.Clone(messages), results: results}
	p.prepare()
	if n.o.Queue && n.queue.join(ctx, &p) {
		n.count(results)
		return
	}
	p.store(ctx)
	n.metrics.appendSeconds.Observe(time.Since(started).Seconds())
	n.count(results)
}

// publication is one call of Publish.
type publication struct {
	n        *Node
	messages []Message // with IDs
	results  []Result
	places   []engine.Position // of each partition, what was known before the last attempt

	pending []int          // indexes of the messages that are not final, ascending
	sent    []bool         // an attempt may have stored the message, under its present ID
	ids     map[int]string // the first IDs of messages that have another one, see rename
}

// places returns what is known of each partition.
func (n *Node) places() []engine.Position {
	all := make([]engine.Position, len(n.partitions))
	for i, p := range n.partitions {
		all[i] = p.position()
	}
	return all
}

// prepare refuses what the log would refuse, and gives the others an ID.
func (p *publication) prepare() {
	p.sent = make([]bool, len(p.messages))
	limit := p.n.o.Log.MaxBytes()
	for i := range p.messages {
		m := &p.messages[i]
		p.results[i] = Result{}
		switch {
		case m.Op != OpEvent && m.Op != OpBroadcast:
			p.results[i].Err = fmt.Errorf("cluster: a node publishes no message with Op %d", m.Op)
			continue
		case len(m.Frame.Bytes) > limit:
			p.results[i].Err = ErrTooLarge
			continue
		case m.ID == "":
			m.ID = p.n.idPrefix + strconv.FormatUint(p.n.idCount.Add(1), 36)
		}
		p.pending = append(p.pending, i)
	}
}

// store appends the pending messages until all are final.
func (p *publication) store(ctx context.Context) {
	patience, pause := firstAttempt, minRetryPause
	for len(p.pending) > 0 {
		if ctx.Err() != nil || p.n.ctx.Err() != nil {
			p.giveUp()
			return
		}
		p.attempt(ctx, patience)
		if len(p.pending) == 0 {
			return
		}
		if p.away() && (p.n.o.Queue || p.n.longAway()) {
			p.giveUp()
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		patience, pause = 2*patience, min(2*pause, maxRetryPause)
	}
}

// attempt appends the pending messages once, for as long as patience says.
func (p *publication) attempt(ctx context.Context, patience time.Duration) {
	attemptCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	batch := make([]Message, len(p.pending))
	got := make([]Result, len(p.pending))
	for i, at := range p.pending {
		batch[i] = p.messages[at]
		got[i] = Result{Err: ErrAway}
	}
	if p.n.canAppend(attemptCtx) {
		p.places = p.n.places()
		p.n.append(attemptCtx, batch, got)
	}

	left := p.pending[:0]
	for i, at := range p.pending {
		switch r := got[i]; {
		case r.Err == nil:
			p.n.awaySince.Store(0)
			var passed uint64
			if p.results[at], passed = p.n.confirm(ctx, &p.messages[at], r, p.places); passed != 0 && !r.Duplicate {
				// This attempt has stored it, after the log has gone back. A duplicate may have been read before, in the last epoch, as
				// when a promoted replica has it: nobody knows.
				p.rename(at, passed)
				left = append(left, at)
				continue
			}
			if p.sent[at] {
				p.results[at].Duplicate = false // the one before may be an attempt of this call
			}
		case errors.Is(r.Err, ErrUnknown):
			p.sent[at] = true
			p.results[at] = r
			left = append(left, at)
		case errors.Is(r.Err, ErrAway):
			p.results[at] = r
			left = append(left, at)
		default:
			p.results[at] = r
			if p.mayBeStored(at) {
				p.results[at] = Result{Err: ErrUnknown}
			}
		}
	}
	p.pending = left
	if len(left) > 0 {
		p.failOvertaken()
	}
}

// idAfter is the ID of a message that the log has stored where nobody reads: before the epoch. With its first ID the log would take the
// next attempt for a repetition. Each node that repeats the message gives it the same ID, so it is stored once in the epoch.
func idAfter(first string, epoch uint64) string { return first + "~" + strconv.FormatUint(epoch, 36) }

// rename gives a message that ID.
func (p *publication) rename(at int, epoch uint64) {
	p.sent[at] = false
	if p.ids == nil {
		p.ids = map[int]string{}
	}
	m := &p.messages[at]
	if p.ids[at] == "" {
		p.ids[at] = m.ID
	}
	m.ID = idAfter(p.ids[at], epoch)
}

// canAppend waits until the readers of all partitions have agreed with the log about the epoch since the connection was
// interrupted. Otherwise this node could store events under sequences that are in use, before anybody has seen that the log
// has gone back. It returns false if the broker is away, or ctx is done.
func (n *Node) canAppend(ctx context.Context) bool {
	for _, p := range n.partitions {
		p.mu.Lock()
		for !p.agreed {
			session := p.sessions
			p.mu.Unlock()
			if !n.o.Log.Connected() {
				return false // Append would wait
			}
			select {
			case <-session:
			case <-ctx.Done():
				return false
			}
			p.mu.Lock()
		}
		p.mu.Unlock()
	}
	return n.o.Log.Connected()
}

// failOvertaken makes pending messages final if a later message of the same key is stored. A broadcast is of every key.
func (p *publication) failOvertaken() {
	byKey := map[string]int{}
	broadcast, last := -1, -1
	for i := range p.messages {
		if p.results[i].Err != nil || p.results[i].Seq == 0 {
			continue
		}
		last = i
		if p.messages[i].Op == OpBroadcast {
			broadcast = i
		} else {
			byKey[p.messages[i].Key] = i
		}
	}
	p.pending = slices.DeleteFunc(p.pending, func(at int) bool {
		m := &p.messages[at]
		if later, ok := byKey[m.Key]; m.Op == OpBroadcast && last > at || m.Op != OpBroadcast && (broadcast > at || ok && later > at) {
			p.fail(at)
			return true
		}
		return false
	})
}

// away reports whether the broker is away, and none of the pending messages could be sent.
func (p *publication) away() bool {
	if p.n.o.Log.Connected() {
		p.n.awaySince.Store(0)
		return false
	}
	p.n.awaySince.CompareAndSwap(0, time.Now().UnixNano())
	return !slices.ContainsFunc(p.pending, func(at int) bool { return !errors.Is(p.results[at].Err, ErrAway) })
}

// longAway reports whether the broker has been away for longer than a publish waits. Then waiting again for each publish
// would only collect requests.
func (n *Node) longAway() bool {
	since := n.awaySince.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= n.o.PublishTimeout
}

// giveUp makes the pending messages final.
func (p *publication) giveUp() {
	if p.n.o.Queue && p.away() {
		p.n.queue.add(p)
		return
	}
	for _, at := range p.pending {
		p.fail(at)
	}
	p.pending = nil
}

// mayBeStored reports whether an attempt may have stored the message.
func (p *publication) mayBeStored(at int) bool { return p.sent[at] || p.ids[at] != "" }

func (p *publication) fail(at int) {
	p.results[at] = Result{Err: ErrAway}
	if p.mayBeStored(at) {
		p.results[at].Err = ErrUnknown
	}
}

// confirm checks what the log says about a stored message. A new entry must be above everything that was known before it
// was sent. If it is not, the log has gone back: its reader finds out in which epoch the entry is. An entry before the
// current epoch reaches nobody who is connected, so it is not confirmed: passed is that epoch.
//
// An entry that was stored before may have any place that is known. The log may have gone back all the same, and another node
// may have stored the entry there before anybody noticed: the log's state says so.
func (n *Node) confirm(ctx context.Context, m *Message, r Result, places []engine.Position) (confirmed Result, passed uint64) {
	p := n.partitionOf(m)
	before := places[p.index]
	epoch, epochSeq := p.current()
	switch {
	case r.Duplicate:
		state, err := n.o.Log.State(ctx, p.index)
		if err != nil {
			return Result{Err: ErrUnknown}, 0
		}
		if epoch, epochSeq = p.current(); state.Epoch == epoch && state.Last >= before.Seq {
			if r.Seq <= epochSeq {
				return Result{Err: ErrUnknown}, epoch
			}
			r.Epoch = epoch
			return r, 0
		}
		if epoch == before.Epoch {
			epoch, epochSeq = p.recheck(ctx, epoch)
		}
	case epoch == before.Epoch && r.Seq > before.Seq:
		p.learn(engine.Position{Epoch: epoch, Seq: r.Seq})
		r.Epoch = epoch
		return r, 0
	case epoch == before.Epoch:
		epoch, epochSeq = p.recheck(ctx, epoch)
	}
	switch {
	case epoch == before.Epoch:
		return Result{Err: ErrUnknown}, 0
	case r.Seq <= epochSeq:
		return Result{Err: ErrUnknown}, epoch
	}
	r.Epoch = epoch
	return r, 0
}

// recheck makes the reader compare the log's state with what is known, and returns the epoch after that, or when ctx is
// done. It does nothing if the epoch is another one than the caller knew.
func (p *partition) recheck(ctx context.Context, known uint64) (epoch, epochSeq uint64) {
	p.mu.Lock()
	for p.epoch == known && ctx.Err() == nil {
		p.suspect = true
		p.stop(errChanged)
		session := p.sessions
		p.mu.Unlock()
		select {
		case <-session:
		case <-ctx.Done():
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	return p.epoch, p.epochSeq
}

// count counts the results of a publish.
func (n *Node) count(results []Result) {
	for i := range results {
		n.metrics.publishes.WithLabelValues(resultOf(&results[i])).Inc()
	}
}

func resultOf(r *Result) string {
	switch {
	case r.Queued:
		return resultQueued
	case r.Err == nil && r.Duplicate:
		return resultDuplicate
	case r.Err == nil:
		return resultStored
	case errors.Is(r.Err, ErrUnknown):
		return resultUnknown
	case errors.Is(r.Err, ErrAway):
		return resultAway
	}
	return resultRefused
}
