package redis

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// state is what state.lua answers.
type state struct {
	cluster.State
	epoch string // as the entries have it
	next  uint64 // the first entry after the sequence that was asked for, 0 if there is none
}

// State returns the state of a partition. Unsynced is set if the server has restarted or another one was promoted since the epoch
// began, and entries may be lost by that.
func (l *Log) State(ctx context.Context, partition int) (cluster.State, error) {
	p := l.partitions[partition]
	s, err := l.read(ctx, p, 0)
	if err != nil {
		return cluster.State{}, err
	}
	p.epoch.Store(&s.epoch)
	return s.State, nil
}

// read reads the state by the shared link.
func (l *Log) read(ctx context.Context, p *partition, after uint64) (s state, err error) {
	err = l.use(ctx, func(ctx context.Context, k *link) error {
		s, err = l.readBy(ctx, k, p, after)
		return err
	})
	return s, err
}

// readBy reads the state by a connection.
func (l *Log) readBy(ctx context.Context, c doer, p *partition, after uint64) (state, error) {
	m, err := stateScript.run(ctx, c, []string{p.stream, p.facts}, []string{
		strconv.FormatUint(rand.Uint64(), 36), strconv.Itoa(l.o.Partitions), flag(l.synced.Load()), strconv.FormatUint(after, 10),
	})
	if re, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(re.Error(), "PARTITIONS ") {
		return state{}, &partitionsError{l.o.Name, strings.TrimPrefix(re.Error(), "PARTITIONS "), l.o.Partitions}
	}
	if err != nil {
		return state{}, err
	}
	fields, err := m.AsStrSlice()
	if err != nil {
		return state{}, err
	}
	if len(fields) != 7 {
		return state{}, fmt.Errorf("redis: the state has %d fields, want 7", len(fields))
	}
	s := state{epoch: fields[3]}
	s.Created, s.Unsynced = fields[2], fields[5] == "1"
	numbers := []struct {
		to   *uint64
		text string
		base int
	}{{&s.First, fields[0], 10}, {&s.Last, fields[1], 10}, {&s.Epoch, fields[3], 36}, {&s.EpochSeq, fields[4], 10}}
	for _, n := range numbers {
		if n.text == "" {
			continue // no epoch yet
		}
		if *n.to, err = strconv.ParseUint(n.text, n.base, 64); err != nil {
			return state{}, fmt.Errorf("redis: the state of the log has %.40q where a number must be", n.text)
		}
	}
	if fields[6] != "" {
		s.next, _, err = parseID(fields[6])
	}
	return s, err
}

// SeqAt returns the sequence of the first entry that was stored at t or later; Last+1 if there is none.
func (l *Log) SeqAt(ctx context.Context, partition int, t time.Time) (seq uint64, err error) {
	p := l.partitions[partition]
	err = l.use(ctx, func(ctx context.Context, k *link) error {
		s, err := l.readBy(ctx, k, p, 0) // before the search: what is added in between is newer than t, or found
		if err != nil {
			return err
		}
		m, err := seqAtScript.run(ctx, k, []string{p.stream}, []string{strconv.FormatInt(t.UnixMicro(), 10)})
		if err != nil {
			return err
		}
		text, err := m.ToString()
		if err != nil || text == "" {
			seq = s.Last + 1
			return err
		}
		seq, err = strconv.ParseUint(text, 10, 64)
		return err
	})
	return seq, err
}

// parseID reads the ID of an entry: its sequence, and when it was stored, in Unix nanoseconds.
func parseID(id string) (seq uint64, at int64, err error) {
	first, second, ok := strings.Cut(id, "-")
	if ok {
		if seq, err = strconv.ParseUint(first, 10, 64); err == nil {
			var unsigned uint64 // somebody else's ID may have any number there
			unsigned, err = strconv.ParseUint(second, 10, 64)
			at = int64(min(unsigned, math.MaxInt64))
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("redis: %.50q is not the ID of an entry", id)
	}
	return seq, at, nil
}
