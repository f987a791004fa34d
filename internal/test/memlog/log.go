package memlog

import (
	"context"
	"errors"
	"time"

	"fanfare/cluster"
)

// errAway is why State, Read, SeqAt and Fetch fail while the broker is down or the connection is cut.
var errAway = errors.New("memlog: the broker cannot be reached")

// idleInterval is how often Read calls idle.
const idleInterval = time.Second

// Log is the connection of one node to the broker. It implements cluster.Log.
type Log struct {
	b     *Broker
	cut   bool // under b.mu, like all of these
	held  bool
	skip  int
	reads int
}

// Log makes a connection.
func (b *Broker) Log() *Log {
	l := &Log{b: b}
	b.change(func() { b.logs = append(b.logs, l) })
	return l
}

// Cut separates the node from the broker until Cut(false).
func (l *Log) Cut(on bool) { l.b.change(func() { l.cut = on }) }

// HoldReads makes Read wait until HoldReads(false), without any entry and without idle. All other calls work.
func (l *Log) HoldReads(on bool) { l.b.change(func() { l.held = on }) }

// Skip makes Read leave out the next n entries, which no log may do.
func (l *Log) Skip(n int) { l.b.change(func() { l.skip = n }) }

// Reads returns how often Read has begun.
func (l *Log) Reads() int {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return l.reads
}

// reach runs f under the broker's lock as soon as the broker answers. f returns true when it is done; otherwise it runs
// again after a change, or when the time of wait has come.
func (l *Log) reach(ctx context.Context, wait <-chan time.Time, f func() bool) error {
	for {
		l.b.mu.Lock()
		away, stalled, changed := l.b.down || l.cut, l.b.stalled, l.b.changed
		done := !away && !stalled && f()
		l.b.mu.Unlock()
		if away {
			return errAway
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-wait:
			return nil
		}
	}
}

// Partitions implements cluster.Log.
func (l *Log) Partitions() int {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return len(l.b.parts)
}

// Append implements cluster.Log. Faults count messages, so they hit the middle of a batch too.
func (l *Log) Append(ctx context.Context, messages []cluster.Message, results []cluster.Result) {
	hold := false
	for i := range messages {
		err := l.reach(ctx, nil, func() bool {
			results[i] = l.appendOne(messages[i])
			hold = hold || l.b.holdAcks
			return true
		})
		switch {
		case errors.Is(err, errAway):
			results[i] = cluster.Result{Err: cluster.ErrAway}
		case err != nil:
			results[i] = cluster.Result{Err: cluster.ErrUnknown}
		default:
			l.b.change(func() {})
		}
	}
	if !hold {
		return
	}
	<-ctx.Done()
	for i := range messages {
		results[i] = cluster.Result{Err: cluster.ErrUnknown}
	}
}

// appendOne stores one message, or does what a fault says. The caller holds the broker's lock.
func (l *Log) appendOne(m cluster.Message) cluster.Result {
	b := l.b
	switch {
	case len(m.Frame.Bytes) > b.MaxFrame:
		return cluster.Result{Err: cluster.ErrTooLarge}
	case b.refuse > 0:
		b.refuse--
		return cluster.Result{Err: b.refuseErr}
	case b.drop > 0:
		b.drop--
		return cluster.Result{Err: cluster.ErrUnknown}
	}
	at := 0
	switch m.Op {
	case cluster.OpEvent:
		at = cluster.PartitionOf(m.Key, len(b.parts))
	case cluster.OpEpoch:
		at = m.Partition
	}
	r := b.parts[at].append(m, b.Window)
	b.trim(b.parts[at])
	if b.loseAcks > 0 && r.Err == nil {
		b.loseAcks--
		return cluster.Result{Err: cluster.ErrUnknown}
	}
	return r
}

// Read implements cluster.Log.
func (l *Log) Read(ctx context.Context, partition int, after uint64, handle func(*cluster.Entry) error, idle func(last uint64)) error {
	l.b.change(func() { l.reads++ })
	for {
		var (
			e     cluster.Entry
			found bool
			last  uint64
		)
		timer := time.NewTimer(idleInterval)
		err := l.reach(ctx, timer.C, func() bool {
			p := l.b.parts[partition]
			last = p.last
			if l.held {
				return false
			}
			for {
				if e, found = p.next(partition, after+1); !found {
					return false
				}
				if l.skip == 0 {
					return true
				}
				l.skip--
				after = e.Seq
			}
		})
		timer.Stop()
		if err != nil {
			return err
		}
		if !found {
			l.b.mu.Lock()
			silent := l.b.stalled || l.held
			l.b.mu.Unlock()
			if !silent {
				idle(last)
			}
			continue
		}
		after = e.Seq
		if err := handle(&e); err != nil {
			return err
		}
	}
}

// State implements cluster.Log.
func (l *Log) State(ctx context.Context, partition int) (s cluster.State, err error) {
	err = l.reach(ctx, nil, func() bool {
		s = l.b.parts[partition].state(l.b.creations)
		return true
	})
	return s, err
}

// SeqAt implements cluster.Log.
func (l *Log) SeqAt(ctx context.Context, partition int, t time.Time) (seq uint64, err error) {
	err = l.reach(ctx, nil, func() bool {
		p := l.b.parts[partition]
		for seq = p.first; seq <= p.last; seq++ {
			if e, ok := p.entries[seq]; ok && !e.at.Before(t) {
				break
			}
		}
		return true
	})
	return seq, err
}

// Fetch implements cluster.Log.
func (l *Log) Fetch(ctx context.Context, q cluster.Query, handle func(*cluster.Entry) error) error {
	l.b.change(func() { l.b.fetches++ })
	var found []cluster.Entry
	var failed error
	err := l.reach(ctx, nil, func() bool {
		if l.b.holdFetches {
			return false
		}
		found, failed = l.b.parts[q.Partition].fetch(q)
		return true
	})
	if err != nil {
		return err
	}
	for i := range found {
		if err := handle(&found[i]); err != nil {
			return err
		}
	}
	return failed
}

// Retention implements cluster.Log.
func (l *Log) Retention() cluster.Retention {
	return cluster.Retention{Age: l.b.MaxAge, Bytes: l.b.MaxBytes}
}

// Connected implements cluster.Log.
func (l *Log) Connected() bool {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return !l.b.down && !l.cut
}

// MaxBytes implements cluster.Log.
func (l *Log) MaxBytes() int { return l.b.MaxFrame }

// Close implements cluster.Log.
func (l *Log) Close() { l.Cut(true) }

// Bus is the connection of one node to the bus. It implements cluster.Bus.
type Bus struct {
	b      *Broker
	cut    bool
	name   string
	handle func([]byte)
}

// Bus makes a connection.
func (b *Broker) Bus() *Bus {
	bus := &Bus{b: b}
	b.change(func() { b.buses = append(b.buses, bus) })
	return bus
}

// Cut separates the node from the bus until Cut(false).
func (bus *Bus) Cut(on bool) { bus.b.change(func() { bus.cut = on }) }

// Send implements cluster.Bus. It calls the receivers itself.
func (bus *Bus) Send(to string, data []byte) error {
	bus.b.mu.Lock()
	if bus.b.down || bus.b.stalled || bus.cut {
		bus.b.mu.Unlock()
		return errAway
	}
	bus.b.largest = max(bus.b.largest, len(data))
	var handles []func([]byte)
	for _, other := range bus.b.buses {
		if other.handle != nil && !other.cut && (to == "" || to == other.name) {
			handles = append(handles, other.handle)
		}
	}
	bus.b.mu.Unlock()
	for _, handle := range handles {
		handle(append([]byte(nil), data...))
	}
	return nil
}

// Receive implements cluster.Bus.
func (bus *Bus) Receive(name string, handle func(data []byte)) error {
	bus.b.change(func() { bus.name, bus.handle = name, handle })
	return nil
}
