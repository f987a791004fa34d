package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// Read pages are sized to bring about pageBytes, by the size of the entries in the last one.
const (
	pageBytes = 1 << 20
	firstPage = 64
	maxPage   = 1024
)

// patience is how long a Read waits for the next entry before it looks at the state.
const patience = 500 * time.Millisecond

// reader is one call of Read. It has a connection of its own, since XREAD blocks.
//
//	read the state: is this the log that the caller knows?
//	then:  XREAD BLOCK; hand over the entries; where there is nothing to read, look at the state again
//
// Redis is one thread, and the connection leads to the primary. So an entry that is missing between two that were read is missing
// for good: it was trimmed or deleted.
type reader struct {
	l      *Log
	p      *partition
	c      rueidis.DedicatedClient
	last   uint64 // handed over, or reported as lost
	epoch  string // that entries must have
	page   int
	handle func(*cluster.Entry) error
}

// Read hands over the entries after a sequence, see cluster.Log. It fails if the log has gone back, or if its entries have another
// epoch than the caller knows from State and from the entries before.
func (l *Log) Read(ctx context.Context, partition int, after uint64, handle func(*cluster.Entry) error, idle func(last uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	k, err := l.dial(ctx, linkDedicated)
	if err != nil {
		return err
	}
	defer k.close()
	p := l.partitions[partition]
	defer l.renew(p)
	r := &reader{l: l, p: p, c: k.dedicated, last: after, page: firstPage, handle: handle}
	if err := r.begin(ctx); err != nil {
		return err
	}
	return r.follow(ctx, idle)
}

// begin checks that the log is the one that the caller knows.
func (r *reader) begin(ctx context.Context) error {
	s, err := r.state(ctx)
	if err != nil {
		return err
	}
	r.epoch = s.epoch
	if known := r.p.epoch.Load(); known != nil {
		r.epoch = *known
	}
	return r.check(s)
}

// check fails if the log has gone back behind what was handed over, or waits for a new epoch.
func (r *reader) check(s state) error {
	if s.Last < r.last || s.Unsynced || s.epoch == "" || s.epoch != r.epoch && s.EpochSeq <= r.last {
		return errMoved
	}
	return nil
}

func (r *reader) state(ctx context.Context) (s state, err error) {
	defer r.l.recovered(&err)
	ctx, cancel := context.WithTimeout(ctx, r.l.o.Timeout)
	defer cancel()
	return r.l.readBy(ctx, r.c, r.p, r.last)
}

// follow hands over entries until an error.
func (r *reader) follow(ctx context.Context, idle func(last uint64)) error {
	for {
		list, err := r.next(ctx)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			if err := r.give(ctx, list); err != nil {
				return err
			}
			r.page = pageSize(list)
			continue
		}
		s, err := r.state(ctx)
		if err != nil {
			return err
		}
		if err := r.check(s); err != nil {
			return err
		}
		if s.next == 0 && s.Last > r.last { // the newest entries were deleted
			if err := r.lose(s.Last); err != nil {
				return err
			}
		}
		if s.next == 0 && idle != nil {
			idle(s.Last)
		}
	}
}

// next waits for entries. It returns none if none have come for a while.
func (r *reader) next(ctx context.Context) (list []rueidis.XRangeSlice, err error) {
	defer r.l.recovered(&err)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience+r.l.o.Timeout)
	defer cancel()
	cmd := r.c.B().Arbitrary("XREAD", "COUNT", strconv.Itoa(r.page), "BLOCK", strconv.FormatInt(patience.Milliseconds(), 10), "STREAMS").
		Keys(r.p.stream).Args(endOf(r.last)).Blocking()
	streams, err := r.c.Do(ctx, cmd).AsXReadSlices()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return streams[r.p.stream], err
}

// give hands over a page of entries.
func (r *reader) give(ctx context.Context, list []rueidis.XRangeSlice) error {
	for i := range list {
		e, epoch, err := decode(&list[i], r.p.number)
		if err != nil {
			return err
		}
		if e.Seq <= r.last {
			continue // somebody else has added a second entry with the same sequence
		}
		if epoch != "" && epoch != r.epoch && e.Op != cluster.OpEpoch {
			return r.skip(ctx)
		}
		if e.Seq > r.last+1 {
			if err := r.lose(e.Seq - 1); err != nil {
				return err
			}
		}
		if e.Op == cluster.OpEpoch {
			r.epoch = epoch
			r.p.epoch.Store(&epoch)
		}
		if err := r.handle(&e); err != nil {
			return err
		}
		r.last = e.Seq
	}
	return nil
}

// skip goes to the beginning of the newest epoch. The entries before it do not follow what was handed over: the log went back, has
// grown beyond that place, and had another epoch since.
func (r *reader) skip(ctx context.Context) error {
	s, err := r.state(ctx)
	if err != nil {
		return err
	}
	if s.epoch == r.epoch || s.EpochSeq <= r.last+1 {
		return errMoved
	}
	return r.lose(s.EpochSeq - 1)
}

// lose reports that the entries up to seq are lost for good.
func (r *reader) lose(seq uint64) error {
	r.last = seq
	return r.handle(&cluster.Entry{Op: cluster.OpHole, Partition: r.p.number, Seq: seq})
}

// endOf is the largest ID that an entry with this sequence can have.
func endOf(seq uint64) string { return strconv.FormatUint(seq, 10) + "-18446744073709551615" }
