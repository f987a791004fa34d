package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"time"

	"fanfare/engine"
)

// Bounds of the pause between two sessions. They are short, because clients wait.
const (
	minBackOff = 100 * time.Millisecond
	maxBackOff = time.Second
)

// readTimeout is how long the log may be silent. It calls handle or idle once a second, see Log.Read.
const readTimeout = 5 * time.Second

// maxJumps is how often the log may leave entries out at the same place before they count as lost.
const maxJumps = 5

var (
	errSilent  = fmt.Errorf("the log has been silent for %s", readTimeout)
	errChanged = errors.New("the log's entries are not those of before: looking at its state")
)

// mark identifies an entry, so that the reader recognizes it when it reads it again.
type mark struct {
	seq uint64
	at  int64
	key int
	sum uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func markOf(e *Entry) mark {
	return mark{e.Seq, e.At, len(e.Key), crc32.Update(uint32(e.Op)^uint32(e.Epoch), castagnoli, e.Frame.Bytes)}
}

// run reads the partition, in sessions: each looks at the log's state, then reads until that fails.
func (p *partition) run() {
	backOff := minBackOff
	for first := true; p.n.ctx.Err() == nil; first = false {
		if !first {
			p.n.metrics.reconnects.Inc()
		}
		p.reading = false
		err := p.session(p.n.ctx)
		if p.n.ctx.Err() != nil {
			return
		}
		if p.reading {
			backOff = minBackOff
		}
		p.n.limited.Log(p.n.log, slog.LevelWarn, fmt.Sprintf("session %d", p.index), "the log cannot be read: trying again",
			"partition", p.index, "error", err)
		pause := backOff/2 + rand.N(backOff/2)
		backOff = min(2*backOff, maxBackOff)
		select {
		case <-time.After(pause):
		case <-p.n.ctx.Done():
		}
	}
}

// session agrees with the log about the epoch, then reads entries until an error.
func (p *partition) session(ctx context.Context) error {
	// End Read from outside if the log contradicts itself, or is silent.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.stop = cancel
	p.mu.Unlock()

	if p.epoch != 0 {
		p.n.fleet.learn(ctx) // others may know more than this node did when the connection was interrupted
	}
	if err := p.agree(ctx); err != nil {
		return cause(ctx, err)
	}
	p.setAgreed(true)
	defer p.setAgreed(false)
	after := p.applied
	p.settle()

	// Read the newest applied entry once more: if it is another one now, the log has gone back and on since.
	verify := p.newest.seq == after && after > 0
	if verify {
		after--
	}
	done := make(chan struct{})
	defer close(done)
	go p.watch(done, cancel)
	err := p.n.o.Log.Read(ctx, p.index, after,
		func(e *Entry) error {
			p.active.Store(true)
			p.reading = true
			if verify {
				verify = false
				if err := p.verify(e); err != nil {
					return err
				}
			}
			return p.handle(e)
		},
		func(last uint64) {
			p.active.Store(true)
			p.reading = true
			p.idle(last)
		})
	return cause(ctx, err)
}

func (p *partition) setAgreed(agreed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agreed = agreed
	if agreed {
		close(p.sessions)
		p.sessions = make(chan struct{})
	}
}

// cause returns why ctx was canceled, if it was, otherwise err.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	if err == nil {
		return errors.New("the log has ended the reading without an error")
	}
	return err
}

// watch ends the session if the log is silent.
func (p *partition) watch(done <-chan struct{}, cancel context.CancelCauseFunc) {
	p.active.Store(false)
	ticker := time.NewTicker(readTimeout)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if !p.active.Swap(false) {
				cancel(errSilent)
				return
			}
		}
	}
}

// verify compares the first entry of a session with the newest one that was applied before.
func (p *partition) verify(e *Entry) error {
	if e.Seq == p.newest.seq && e.Op != OpHole && markOf(e) != p.newest {
		return p.doubt()
	}
	return nil // the same, or retention has removed it
}

// doubt makes the next session begin an epoch, unless another node has done so.
func (p *partition) doubt() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspect = true
	return errChanged
}

// handle applies an entry.
func (p *partition) handle(e *Entry) error {
	seq := p.applied // only this goroutine changes it
	if e.Seq <= seq {
		return nil // it was applied before
	}
	// The sequences must be dense. If the log has left entries out, let it try again before they count as lost.
	if e.Op != OpHole && e.Seq != seq+1 {
		if p.jumps++; p.jumps < maxJumps {
			return fmt.Errorf("the log has left out the entries %d to %d", seq+1, e.Seq-1)
		}
		if err := p.hole(e.Seq - 1); err != nil {
			return err
		}
	}
	p.jumps = 0
	switch e.Op {
	case OpHole:
		if err := p.hole(e.Seq); err != nil {
			return err
		}
	case OpEpoch:
		return p.meetEpoch(e)
	case OpInvalid:
		p.n.metrics.invalid.Inc()
		p.n.limited.Log(p.n.log, slog.LevelWarn, "invalid", "an entry of the log cannot be read: it is not delivered",
			"partition", p.index, "seq", e.Seq, "key", e.Key, "error", e.Err)
		p.n.engine.Advance(p.index, e.Seq)
	default:
		p.apply(e.entry())
	}
	p.finish(e)
	p.stored(e)
	return nil
}

// entry returns the entry for the engine.
func (e *Entry) entry() engine.LogEntry {
	out := engine.LogEntry{Partition: e.Partition, Seq: e.Seq, At: e.At, Key: e.Key, All: e.Op == OpBroadcast, Frame: e.Frame}
	if out.All {
		out.Key = ""
	}
	return out
}

// apply gives an entry to the engine. An entry that the engine refuses keeps its place.
func (p *partition) apply(entry engine.LogEntry) {
	p.touch(&entry)
	if err := p.n.engine.Apply(entry); err != nil {
		p.n.metrics.invalid.Inc()
		p.n.limited.Log(p.n.log, slog.LevelWarn, "refused", "the engine refuses an entry of the log: it is not delivered",
			"partition", p.index, "seq", entry.Seq, "key", entry.Key, "error", err)
		p.n.engine.Advance(p.index, entry.Seq)
	}
}

// finish makes the entry the newest one that is applied.
func (p *partition) finish(e *Entry) {
	p.newest = markOf(e)
	if e.Op == OpHole {
		p.newest = mark{}
	}
	p.setApplied(e.Seq)
	p.settle()
}

// hole reports that the entries up to seq are lost, to the clients of all keys. It fails if they may have begun an epoch.
func (p *partition) hole(seq uint64) error {
	if err := p.checkHole(); err != nil {
		return err
	}
	from := p.applied + 1
	p.n.metrics.holes.Inc()
	p.n.log.Error("the log has lost entries: clients get a gap", "partition", p.index, "from", from, "through", seq)
	if notice := p.n.o.HoleNotice(); len(notice.Bytes) > 0 {
		p.apply(engine.LogEntry{Partition: p.index, Seq: seq, At: time.Now().UnixNano(), All: true, Frame: notice})
	} else {
		p.n.engine.Advance(p.index, seq)
	}
	p.setApplied(seq)
	return nil
}

// meetEpoch is handle for OpEpoch.
func (p *partition) meetEpoch(e *Entry) error {
	switch {
	case e.Epoch < p.epoch || e.Epoch == p.epoch && e.EpochSeq != p.epochSeq:
		return p.doubt() // epochs ascend
	case e.Epoch == p.epoch:
		p.n.engine.Advance(p.index, e.Seq) // a repetition
	case e.EpochSeq != e.Seq:
		return p.doubt() // a repetition of what this node has not met: the state has it
	default:
		p.enterEpoch(e.Epoch, e.Seq)
	}
	p.mu.Lock()
	if e.Seq >= p.epochEntry {
		p.epochEntry, p.epochAt = e.Seq, time.Unix(0, e.At)
	}
	p.mu.Unlock()
	p.finish(e)
	p.unrepeated = 0
	return nil
}

// idle gets the newest sequence that the broker has.
func (p *partition) idle(last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last < p.applied {
		p.stop(errChanged) // agree compares the state with known
		return
	}
	p.learnLocked(engine.Position{Epoch: p.epoch, Seq: last})
	if last == p.applied {
		p.markSettled()
	}
}

// settle calls markSettled when the partition has applied its target.
func (p *partition) settle() {
	if p.applied >= p.target {
		p.markSettled()
	}
}

func (p *partition) markSettled() {
	select {
	case <-p.settled:
	default:
		close(p.settled)
	}
}
