package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// fetch is one call of Fetch. It reads the entries of all keys in pages and picks those of the query, so its cost grows with the
// entries in between: 0.7 us of Redis's time for each, mostly for sending them. To pick in a script takes Redis 3.1 us for each
// (BenchmarkFetch). An index for each key would make it cheap, and would cost memory for each key and each event.
type fetch struct {
	l       *Log
	p       *partition
	q       cluster.Query
	epoch   *string
	scanned int
	bytes   int64
	found   []cluster.Entry
}

// Fetch hands over the entries of a query, see cluster.Log. It fails if any entry of the range is missing, unless the newest are
// asked for.
func (l *Log) Fetch(ctx context.Context, q cluster.Query, handle func(*cluster.Entry) error) error {
	if q.Through <= q.After {
		return nil
	}
	f := &fetch{l: l, p: l.partitions[q.Partition], q: q}
	f.epoch = f.p.epoch.Load()
	s, err := l.read(ctx, f.p, 0)
	switch {
	case err != nil:
		return err
	case q.Through > s.Last, f.epoch != nil && *f.epoch != s.epoch:
		return cluster.ErrTooOld // the log is not the one that the caller knows
	case q.Last():
		err = f.backward(ctx, s)
	default:
		err = f.forward(ctx, s)
	}
	if err != nil && !(q.Last() && errors.Is(err, cluster.ErrTooOld)) {
		return err
	}
	for i := range f.found {
		if err := handle(&f.found[i]); err != nil {
			return err
		}
	}
	return err
}

// errEnough ends a search: no more entries are wanted.
var errEnough = errors.New("enough")

// forward reads from the beginning of the range.
func (f *fetch) forward(ctx context.Context, s state) error {
	after := f.q.After
	if after+1 < s.First || f.q.Scan > 0 && f.q.Through > after && f.q.Through-after > uint64(f.q.Scan) {
		return cluster.ErrTooOld
	}
	for page := firstPage; after < f.q.Through; {
		list, err := f.page(ctx, "XRANGE", strconv.FormatUint(after+1, 10), strconv.FormatUint(f.q.Through, 10), page)
		if err != nil {
			return err
		}
		for i := range list {
			seq, err := f.take(&list[i])
			switch {
			case errors.Is(err, errEnough):
				return nil
			case err != nil:
				return err
			case seq != after+1:
				return cluster.ErrTooOld // trimmed meanwhile, or deleted
			}
			after = seq
		}
		if len(list) == 0 {
			return cluster.ErrTooOld
		}
		page = pageSize(list)
	}
	return nil
}

// backward reads from the end of the range until it has enough. It takes what is left of the range; with Query.Exact it ends at
// the first entry that is not there.
func (f *fetch) backward(ctx context.Context, s state) error {
	after, through := f.q.After, f.q.Through
	if !f.q.Since.IsZero() {
		first, err := f.l.SeqAt(ctx, f.p.number, f.q.Since)
		if err != nil {
			return err
		}
		if !f.q.Exact || first > s.First { // otherwise what was removed may be of that time, too
			after = max(after, first-1)
		}
	}
	defer func() { slices.Reverse(f.found) }()
	lost := func(err error) error {
		for n := len(f.found); n > 0 && f.found[n-1].Seq <= through; n-- {
			f.found = f.found[:n-1]
		}
		return cluster.Lost(through, err)
	}
	page := firstPage
	if f.q.Newest > 0 {
		page = min(page, f.q.Newest)
	}
	for through > after {
		list, err := f.page(ctx, "XREVRANGE", strconv.FormatUint(through, 10), strconv.FormatUint(after+1, 10), page)
		if err != nil {
			return err
		}
		for i := range list {
			seq, err := f.take(&list[i])
			switch {
			case errors.Is(err, cluster.ErrTooOld):
				return lost(err)
			case err != nil:
				return err
			case f.q.Exact && seq != through:
				return lost(cluster.ErrTooOld)
			}
			if through = seq - 1; len(f.found) == f.q.Newest && f.q.Newest > 0 {
				return nil
			}
		}
		if len(list) == 0 {
			if f.q.Exact {
				return lost(cluster.ErrTooOld)
			}
			break
		}
		if f.q.Scan > 0 && f.scanned > f.q.Scan {
			return lost(cluster.ErrTooOld)
		}
		page = pageSize(list)
	}
	return nil
}

func (f *fetch) page(ctx context.Context, command, from, to string, count int) (list []rueidis.XRangeSlice, err error) {
	err = f.l.use(ctx, func(ctx context.Context, k *link) error {
		list, err = k.Do(ctx, k.B().Arbitrary(command).Keys(f.p.stream).Args(from, to, "COUNT", strconv.Itoa(count)).Build()).AsXRangeSlices()
		return err
	})
	return list, err
}

// take keeps an entry if the query asks for it.
func (f *fetch) take(x *rueidis.XRangeSlice) (seq uint64, err error) {
	e, epoch, err := decode(x, f.p.number)
	if err != nil {
		return 0, err
	}
	if epoch != "" && f.epoch != nil && epoch != *f.epoch {
		return 0, cluster.ErrTooOld // of an earlier epoch
	}
	f.scanned++
	switch {
	case f.q.All && e.Op != cluster.OpBroadcast, !f.q.All && (e.Op != cluster.OpEvent || e.Key != f.q.Key),
		!f.q.Since.IsZero() && e.At/1000 < f.q.Since.UnixMicro(): // the last three digits of a time are random
		return e.Seq, nil
	}
	f.bytes += int64(len(e.Frame.Bytes))
	switch over := f.q.Bytes > 0 && f.bytes > f.q.Bytes; {
	case f.q.Oldest > 0 && (len(f.found) == f.q.Oldest || over && len(f.found) > 0):
		return 0, errEnough
	case f.q.Oldest == 0 && (f.q.Max > 0 && len(f.found) == f.q.Max || over && !(f.q.Last() && len(f.found) == 0)):
		return 0, cluster.ErrTooOld
	}
	f.found = append(f.found, e)
	return e.Seq, nil
}
