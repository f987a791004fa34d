package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare/engine"
)

// Epochs
//
// A sequence identifies an event only as long as the log never goes back. It can: it is restored from a backup, deleted
// and made anew, damaged, or loses its newest entries with the power. Then the same sequences are given to other events.
// Therefore an id has an epoch, and an epoch ends when the log has gone back, or may have.
//
// Every epoch begins by an entry of the log (OpEpoch), so all nodes meet it at the same place. Epochs ascend. Whoever sees
// that the log has gone back appends the entry, on the condition that the log has not changed since (compare and set), so
// one of several nodes succeeds. What a node compares, before it reads and each time that reading has been interrupted:
//
//	the state has no epoch               a new log, or one that nobody knows, see below
//	the state's epoch is below its own   an old copy
//	the same epoch, but the newest       entries are lost: known has what this node has applied, what the log has
//	entry is below known                 confirmed to it, and what other nodes have announced
//	the same epoch, but another          made anew, or restored
//	creation or beginning
//	the newest applied entry is          entries were lost and their sequences are used again: the first entry that is
//	another one now                      read after an interruption is the last one of before, see mark
//	State.Unsynced                       entries may be lost
//
// If the state has a newer epoch, another node has begun it, and this node goes on from its beginning: what is before that
// entry may be new events under sequences that were used before. Events that were stored there are lost to clients, who
// get a gap, as for everything that was lost when the log went back.
//
// The entry must outlive retention. So nodes repeat it, with the sequence at which the epoch began, before so much was stored
// that the last one could be removed: see repeat.go. A log without an entry is in an epoch all the same if a node has read
// everything that was removed from it: see witness.go. Only if nobody knows that, a new epoch begins.
//
// What a node sees only with Options.Memory: the log goes back while no node runs.

// epochBit is the highest bit of every epoch: it is set and none above it, as the engine's epochs are.
const epochBit = 61

// randomBits is how many of the low bits of an epoch are random. Those above have the time in seconds.
const randomBits = epochBit - 32

// newEpoch returns an epoch above the given one. It consists of the time in seconds and random bits.
func newEpoch(above uint64) uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	random := binary.NativeEndian.Uint64(b[:])
	epoch := 1<<epochBit | uint64(uint32(time.Now().Unix()))<<randomBits | random>>(64-randomBits)
	if epoch <= above { // the clock is behind
		epoch = above + 1 + random%(1<<16)
	}
	return epoch
}

// beganAt returns about when newEpoch has made an epoch.
func beganAt(epoch uint64) time.Time { return time.Unix(int64(uint32(epoch>>randomBits)), 0) }

// stateTimeout bounds the calls of the log at the beginning of a session.
const stateTimeout = 5 * time.Second

// maxEpochAttempts bounds how often the reader tries to begin an epoch before it backs off.
const maxEpochAttempts = 8

// agree compares the log's state with what this node knows, begins an epoch if it must, and follows the newest one.
func (p *partition) agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	asked := false
	for range maxEpochAttempts {
		// Take what is known before the state is read: what becomes known meanwhile may be newer than the state.
		p.mu.Lock()
		known, suspect := p.known, p.suspect
		p.mu.Unlock()
		state, err := p.n.o.Log.State(ctx, p.index)
		if err != nil {
			return err
		}
		reason := p.judge(state, known, suspect)
		switch {
		case reason == "":
			return p.follow(ctx, state)
		case reason == reasonNone && !suspect:
			if w, ok := p.witness(state, known, asked && p.n.fleet.alone()); ok {
				err = p.repeatAfter(ctx, state, w) // retention has removed the entry
				break
			}
			if !asked && state.Last > 0 {
				asked = true
				p.n.fleet.askWitnesses(ctx, func() bool { _, ok := p.witness(state, p.position(), false); return ok })
				continue // what is known now may be newer than the state
			}
			err = p.beginEpoch(ctx, state, known, reason)
		default:
			err = p.beginEpoch(ctx, state, known, reason)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("other nodes begin epochs at the same time")
}

// reasonNone is the reason for a new epoch if the log has none.
const reasonNone = "the log has none"

// judge says why a new epoch must begin, or "".
func (p *partition) judge(state State, known engine.Position, suspect bool) string {
	epoch, epochSeq := p.current()
	switch {
	case state.Epoch == 0:
		return reasonNone
	case state.Unsynced && state.Epoch != p.unsyncedFor:
		return "confirmed entries may be lost: they were not on disk, or the log was restored from a backup"
	case state.Epoch < max(epoch, known.Epoch):
		return "the log is an old copy"
	case state.Epoch == known.Epoch && state.Last < known.Seq:
		return "the newest entries are lost"
	case epoch == 0 || state.Epoch > epoch:
		return ""
	case state.Created != p.created:
		return "the log was made anew"
	case state.EpochSeq != epochSeq:
		return "the log was changed"
	case suspect:
		return "entries are lost, and their sequences are used again"
	}
	return ""
}

// beginEpoch appends the entry. A conflict is not an error: the caller looks at the state again.
func (p *partition) beginEpoch(ctx context.Context, state State, known engine.Position, reason string) error {
	epoch, _ := p.current()
	m := Message{
		Op: OpEpoch, Partition: p.index, After: state.Last + 1,
		Epoch: newEpoch(max(state.Epoch, epoch, known.Epoch)),
	}
	var r [1]Result
	p.n.o.Log.Append(ctx, []Message{m}, r[:])
	switch {
	case errors.Is(r[0].Err, ErrConflict):
		return nil
	case r[0].Err != nil:
		return fmt.Errorf("cannot begin an epoch: %w", r[0].Err)
	}
	if state.Unsynced {
		p.unsyncedFor = m.Epoch
	}
	level := slog.LevelWarn
	if state.Last == 0 && known.Seq == 0 {
		level = slog.LevelInfo // a new log
	}
	p.n.log.Log(ctx, level, "a new epoch of the log begins: clients that resume get a gap", "partition", p.index,
		"reason", reason, "last", state.Last, "known", known.Seq, "seq", r[0].Seq)
	return nil
}

// checkEpoch fails if what was fetched from the log may be of another epoch than the given one: it has ended, or the log has
// gone back and the reader does not know yet.
func (p *partition) checkEpoch(ctx context.Context, epoch uint64) error {
	known := p.position()
	state, err := p.n.o.Log.State(ctx, p.index)
	if err != nil {
		return err
	}
	now, _ := p.current()
	if now != epoch || state.Epoch != epoch || known.Epoch == epoch && state.Last < known.Seq {
		return errEpochChanged
	}
	return nil
}

// follow makes the engine follow the state's epoch, if it does not yet.
func (p *partition) follow(ctx context.Context, state State) error {
	epoch, _ := p.current()
	switch {
	case epoch == state.Epoch:
		return nil
	case epoch == 0:
		// The first session: read back as far as ReadBack says.
		first, err := p.n.o.Log.SeqAt(ctx, p.index, time.Now().Add(-p.n.o.ReadBack))
		if err != nil {
			return err
		}
		after := max(first, 1) - 1
		after = max(min(after, state.Last), state.EpochSeq, max(state.First, 1)-1)
		p.target = state.Last
		p.n.engine.SetEpoch(p.index, state.Epoch, state.EpochSeq, engine.Frame{}) // there are no subscribers yet
		p.n.engine.StartAt(p.index, after)
		p.setEpoch(state.Epoch, state.EpochSeq, after)
	default:
		p.enterEpoch(state.Epoch, state.EpochSeq)
		p.target = state.Last
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.created, p.epochEntry = state.Created, state.EpochEntry
	return nil
}

// enterEpoch makes the engine follow a newer epoch, which begins after the entry seq.
func (p *partition) enterEpoch(epoch, seq uint64) {
	p.n.metrics.epochs.Inc()
	p.n.engine.SetEpoch(p.index, epoch, seq, p.n.o.EpochNotice())
	p.newest, p.jumps = mark{}, 0
	p.setEpoch(epoch, seq, seq)
}
