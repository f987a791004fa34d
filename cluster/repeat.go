package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare/engine"
)

// Repeating the entry of the epoch
//
// The newest OpEpoch entry says in which epoch the log is, so retention must never remove the last one. Retention counts time
// and bytes, and events may be stored at any rate. So the entry is repeated:
//
//	by time    one node does so every half of ReadBack or of Retention.Age, whichever is shorter; another one, if that
//	           node does not: see repeatEpochs
//	by bytes   a node that publishes does so before it sends more than an eighth of Retention.Bytes after the last
//	           repetition that the log has confirmed to it, and waits for the confirmation before it sends more than a
//	           quarter: see reserve. What other programs and other nodes store is counted as it is read: see stored
//
// A repetition is stored only if the newest OpEpoch entry is the one that this node knows (AfterEpoch). So a node that does
// not know of a newer epoch cannot hide it, and what others append meanwhile does not prevent a repetition.
//
// A repetition by bytes comes before a quarter of what the log keeps was stored, for each node that publishes as fast as it
// can, and all nodes learn of one that any of them has stored. If the entry is lost all the same, because the log was purged,
// or because other programs store faster than any node reads, see witness.go.

const (
	repeatInterval = 10 * time.Second // how often the age of the entry is looked at, at most
	repeatEntries  = 1000             // of a log with fewer entries, their number is no reason to repeat
	// repeatAttempts bounds how often a repetition is tried while other nodes repeat the entry, too.
	repeatAttempts = 3
	// entryOverhead is about what an entry takes besides its frame and its key: the header, the ID, the log's own fields. A
	// larger estimate makes the entry be repeated more often.
	entryOverhead = 512
)

// leadsEpochs is the name of Leads for repeating the epoch's entries.
const leadsEpochs = "cluster: epochs"

// entryBytes estimates what an event takes in the log: a byte of a key takes up to three.
func entryBytes(frame engine.Frame, key string) int64 {
	return int64(len(frame.Bytes)+3*len(key)) + entryOverhead
}

// append is Log.Append for events. It repeats the epochs' entries in time.
func (n *Node) append(ctx context.Context, messages []Message, results []Result) {
	if n.epochShare == 0 { // fast path
		n.o.Log.Append(ctx, messages, results)
		return
	}
	// Send at most a share at a time, so that the entry can be repeated in between.
	for from := 0; from < len(messages); {
		to, sum := from, int64(0)
		for ; to < len(messages) && (to == from || sum < n.epochShare); to++ {
			m := &messages[to]
			size := entryBytes(m.Frame, m.Key)
			n.partitionOf(m).reserve(ctx, size)
			sum += size
		}
		n.o.Log.Append(ctx, messages[from:to], results[from:to])
		from = to
	}
}

// repetition counts what is stored after the epoch's entry. Its fields are guarded by partition.mu.
type repetition struct {
	sent    int64         // bytes that this node has sent since the last repetition that was confirmed to it
	running chan struct{} // closed when the repetition that is under way has ended; nil if none is
}

// reserve counts bytes that this node is about to send, and repeats the epoch's entry first if that is due.
func (p *partition) reserve(ctx context.Context, bytes int64) {
	share := p.n.epochShare
	for {
		p.mu.Lock()
		r := &p.repetition
		if sum := r.sent + bytes; sum <= share || ctx.Err() != nil || r.running != nil && sum <= 2*share { // fast path
			r.sent = sum
			p.mu.Unlock()
			return
		}
		running := r.running
		p.mu.Unlock()
		if running == nil {
			p.repeatNow(ctx)
			continue
		}
		select {
		case <-running:
		case <-ctx.Done():
		}
	}
}

// stored counts an entry that was read, and repeats the epoch's entry in the background if that is due. One node does so,
// and the others only if that one seems not to. Reader only.
func (p *partition) stored(e *Entry) {
	share := p.n.epochShare
	if share == 0 {
		return
	}
	p.unrepeated += entryBytes(e.Frame, e.Key)
	if p.unrepeated <= share || p.unrepeated <= 3*share && !p.n.Leads(leadsEpochs) {
		return
	}
	p.unrepeated = share / 2 // if this fails, try again after as much
	p.n.spawn(func() { p.repeatWithin(stateTimeout) })
}

// repeatNow repeats the epoch's entry, unless that is under way. It returns when the log has answered.
func (p *partition) repeatNow(ctx context.Context) {
	p.mu.Lock()
	r := &p.repetition
	if r.running != nil {
		p.mu.Unlock()
		return
	}
	done := make(chan struct{})
	r.running = done
	before := r.sent
	p.mu.Unlock()

	err := p.appendRepetition(ctx)
	if err != nil && p.n.ctx.Err() == nil {
		p.n.limited.Log(p.n.log, slog.LevelWarn, "repeat", "the entry of the epoch cannot be repeated: if retention removes the last one, "+
			"a node that starts begins a new epoch", "partition", p.index, "error", err)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	r.running = nil
	if err == nil {
		r.sent -= before
	} else {
		r.sent = min(r.sent, p.n.epochShare/2) // do not try again at each publish
	}
	close(done)
}

// appendRepetition stores the epoch's entry again. It succeeds, too, if another node has just done so.
func (p *partition) appendRepetition(ctx context.Context) error {
	for range repeatAttempts {
		p.mu.Lock()
		epoch, epochSeq, entry, known := p.epoch, p.epochSeq, p.epochEntry, p.known
		p.mu.Unlock()
		if entry > 0 {
			m := Message{Op: OpEpoch, Partition: p.index, Epoch: epoch, Begun: epochSeq, AfterEpoch: entry}
			var r [1]Result
			p.n.o.Log.Append(ctx, []Message{m}, r[:])
			switch {
			case r[0].Err == nil && known.Epoch == epoch && r[0].Seq <= known.Seq:
				p.doubtNow()
				return errChanged
			case r[0].Err == nil:
				p.noteEntry(epoch, r[0].Seq)
				p.learn(engine.Position{Epoch: epoch, Seq: r[0].Seq})
				return nil
			case !errors.Is(r[0].Err, ErrConflict):
				return r[0].Err
			}
		}
		// Another node has repeated the entry, or begun an epoch, and this node has not read it yet.
		state, err := p.n.o.Log.State(ctx, p.index)
		if err != nil {
			return err
		}
		if now, _ := p.current(); now != epoch {
			continue
		}
		if state.Epoch != epoch || state.EpochEntry == 0 {
			p.restart()
			return errChanged // the next session finds out
		}
		p.noteEntry(epoch, state.EpochEntry)
	}
	return nil // others repeat it at the same time
}

// noteEntry notes where the newest entry of an epoch is.
func (p *partition) noteEntry(epoch, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == epoch && seq > p.epochEntry {
		p.epochEntry, p.epochAt = seq, time.Now()
	}
}

// restart makes the reader compare the log's state with what is known.
func (p *partition) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop(errChanged)
}

// doubtNow is restart, and makes the next session begin an epoch, unless another node has done so.
func (p *partition) doubtNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspect = true
	p.stop(errChanged)
}

// repeatAfter appends the entry of an epoch after what the state has, although the log has none. The witness is why that is
// right. A conflict is not an error.
func (p *partition) repeatAfter(ctx context.Context, state State, w witness) error {
	m := Message{Op: OpEpoch, Partition: p.index, After: state.Last + 1, Epoch: w.Epoch, Begun: w.Begun}
	var r [1]Result
	p.n.o.Log.Append(ctx, []Message{m}, r[:])
	if r[0].Err != nil && !errors.Is(r[0].Err, ErrConflict) {
		return fmt.Errorf("cannot repeat the epoch's entry: %w", r[0].Err)
	}
	return nil
}

// repeatAge is how old the entry may become before it is repeated.
func (n *Node) repeatAge() time.Duration {
	age := n.o.ReadBack
	if kept := n.o.Log.Retention().Age; kept > 0 {
		age = min(age, kept)
	}
	return age / 2
}

// repeatEpochs repeats the entry of each partition's epoch on one node when it is old, so that a node which starts finds it
// although the log keeps only what that node reads back, or less. It also repeats an entry in the older half of what the log
// keeps: somebody may have given the log another bound. The other nodes repeat the entry only when it is too old.
func (n *Node) repeatEpochs() {
	age := n.repeatAge()
	ticker := time.NewTicker(max(min(repeatInterval, age/4), 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-n.ctx.Done():
			return
		}
		leads := n.Leads(leadsEpochs)
		for _, p := range n.partitions {
			if leads {
				p.repeatIfOld(age)
			} else if at := p.entryAt(); !at.IsZero() && time.Since(at) > age+age/2 && !n.o.Log.Retention().KeepsEpoch {
				p.repeatWithin(stateTimeout)
			}
		}
	}
}

// entryAt returns when the newest entry of the epoch was stored; zero if this node has not read it.
func (p *partition) entryAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epochAt
}

func (p *partition) repeatIfOld(age time.Duration) {
	p.mu.Lock()
	epoch, at, seq, stop := p.epoch, p.epochAt, p.epochEntry, p.stop
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(p.n.ctx, stateTimeout)
	defer cancel()
	state, err := p.n.o.Log.State(ctx, p.index)
	switch {
	case err != nil || epoch == 0:
		return
	case state.Epoch != epoch || state.Unsynced:
		stop(errChanged) // the next session finds out
		return
	case p.n.o.Log.Retention().KeepsEpoch:
		return
	}
	kept := state.Last - min(state.Last, state.First)
	if time.Since(at) > age || kept > repeatEntries && seq < state.First+kept/2 {
		p.repeatNow(ctx)
	}
}

func (p *partition) repeatWithin(timeout time.Duration) {
	ctx, cancel := context.WithTimeout(p.n.ctx, timeout)
	defer cancel()
	p.repeatNow(ctx)
}
