package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-json"
	natsgo "github.com/nats-io/nats.go"

	"fanfare/cluster"
)

const (
	// fetchBatch and fetchBytes bound one answer.
	fetchBatch = 256
	fetchBytes = 4 << 20
	// The newest entries of a key are looked for in windows that grow from firstWindow by windowGrowth: most keys that
	// are asked for are busy, and looking at an entry of another key costs the broker 0.1 to 0.3 us.
	firstWindow  = 1024
	windowGrowth = 8
)

// errEnough ends a scan: no more entries are wanted.
var errEnough = errors.New("enough")

// fetch is one Fetch.
type fetch struct {
	l       *Log
	q       cluster.Query
	subject string
	last    uint64 // the newest entry of the subject, as the leader knows it
	left    int    // entries and
	bytes   int64  // bytes that may still come
}

// Fetch calls handle for the entries of q, see cluster.Log. It asks the leader for the key's newest entry first: most clients that
// come back have missed nothing. The others cost one or two direct reads, which any replica answers.
func (l *Log) Fetch(ctx context.Context, q cluster.Query, handle func(*cluster.Entry) error) error {
	f := &fetch{l: l, q: q, left: q.Max, bytes: q.Bytes}
	if q.All {
		f.subject = l.subjects.partition(q.Partition) + broadcastToken
	} else {
		f.subject, _ = l.subjects.key(q.Partition, q.Key)
	}
	newest, ok, err := l.get(ctx, q.Partition, getRequest{Last: f.subject})
	switch {
	case err != nil:
		return err
	case !ok || newest.Seq <= q.After:
		return f.checkRetention(ctx)
	}
	f.last = newest.Seq
	if q.Last() {
		return f.newest(ctx, newest, handle)
	}
	return f.all(ctx, handle)
}

// bounds returns the first and the last sequence that can be wanted.
func (f *fetch) bounds(ctx context.Context) (lo, hi uint64, err error) {
	lo, hi = f.q.After+1, min(f.q.Through, f.last)
	if !f.q.Since.IsZero() {
		since, err := f.l.SeqAt(ctx, f.q.Partition, f.q.Since)
		if err != nil {
			return 0, 0, err
		}
		lo = max(lo, since)
	}
	return lo, hi, nil
}

// all fetches every entry between the bounds.
func (f *fetch) all(ctx context.Context, handle func(*cluster.Entry) error) error {
	lo, hi, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	if lo > hi {
		return f.checkRetention(ctx)
	}
	if hi-lo >= uint64(max(f.q.Scan, 1)) {
		return fmt.Errorf("%w: %d entries to look at, more than %d", cluster.ErrTooOld, hi-lo+1, f.q.Scan)
	}
	n, last := 0, uint64(0)
	err = f.window(ctx, lo, hi, func(e *cluster.Entry) error {
		f.bytes -= int64(len(e.Frame.Bytes))
		if f.q.Oldest > 0 && (n == f.q.Oldest || n > 0 && f.bytes < 0) {
			f.q.Through = last // what follows is not asked for
			return errEnough
		}
		n, last = n+1, e.Seq
		if f.q.Oldest > 0 {
			return handle(e)
		}
		if f.left--; f.left < 0 {
			return fmt.Errorf("%w: more than %d entries", cluster.ErrTooOld, f.q.Max)
		}
		if f.bytes < 0 {
			return fmt.Errorf("%w: more than %d bytes", cluster.ErrTooOld, f.q.Bytes)
		}
		return handle(e)
	})
	if err != nil {
		return err
	}
	return f.checkRetention(ctx)
}

// checkRetention returns ErrTooOld if entries of an exact range may have been removed.
func (f *fetch) checkRetention(ctx context.Context) error {
	if f.q.Last() && !f.q.Exact {
		return nil // what is kept was asked for
	}
	lost, err := f.lost(ctx, f.q.After)
	if err == nil && lost > f.q.After {
		err = lostError(lost, "removed, or damaged")
	}
	return err
}

func lostError(through uint64, format string, args ...any) error {
	return cluster.Lost(through, fmt.Errorf("%w: "+format, append([]any{cluster.ErrTooOld}, args...)...))
}

// lost returns the newest sequence of the range after a sequence at which the log may have lost an entry of the key, or 0. It is
// called after the entries have been read: what was not lost then has been read.
//
// A range that begins before the oldest entry of the partition may have had more, and one from which the log has lost entries of
// whatever key. So may one of a key that has as many entries as retentionPerKey allows: those that were removed are older than the
// oldest one that is kept.
func (f *fetch) lost(ctx context.Context, after uint64) (lost uint64, err error) {
	var ask any
	var oldestOfKey uint64
	if f.l.o.MaxPerKey > 0 && f.last > after {
		m, ok, err := f.l.get(ctx, f.q.Partition, getRequest{Seq: 1, Next: f.subject})
		switch {
		case err != nil:
			return 0, err
		case ok && m.Seq > after:
			oldestOfKey, ask = m.Seq, map[string]any{"subjects_filter": f.subject}
		}
	}
	var info streamInfo
	call := "STREAM.INFO." + f.l.o.StreamName(f.q.Partition)
	if err := f.l.request(ctx, call, ask, &info); err != nil {
		return 0, err
	}
	oldest := info.State.First
	if info.State.Messages == 0 {
		oldest = info.State.Last + 1
	}
	lost = min(max(oldest, 1)-1, f.q.Through)
	if oldestOfKey > 0 && info.State.Subjects[f.subject] >= f.l.o.MaxPerKey {
		lost = max(lost, min(oldestOfKey-1, f.q.Through))
	}
	if info.State.Lost == 0 || f.l.o.MaxPerKey > 0 {
		return lost, nil // with a limit for each key, entries in between are removed all the time
	}
	// Slow path: the stream was edited or damaged.
	if err := f.l.request(ctx, call, map[string]bool{"deleted_details": true}, &info); err != nil {
		return 0, err
	}
	for _, seq := range info.State.LostSeqs {
		if after < seq && seq <= f.q.Through {
			lost = max(lost, seq)
		}
	}
	return lost, nil
}

// newest fetches the newest entries between the bounds, of which m is the last one of the key.
func (f *fetch) newest(ctx context.Context, m *storedMessage, handle func(*cluster.Entry) error) error {
	floor, hi, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	if f.q.Newest == 1 && m.Seq == hi && hi >= floor { // the leader has sent it already
		var e cluster.Entry
		f.l.decodeStored(f.q.Partition, m, &e)
		return handle(&e)
	}
	var found []cluster.Entry // ascending
	cut, lost := false, uint64(0)
	looked := uint64(0)
	for width := uint64(firstWindow); hi >= floor && !cut && (f.q.Newest == 0 || len(found) < f.q.Newest); width *= windowGrowth {
		budget := uint64(max(f.q.Scan, 1)) - looked
		if budget == 0 {
			cut, lost = true, hi
			break
		}
		width = min(width, budget, hi-floor+1)
		lo := hi - width + 1
		some, over, err := f.newestWindow(ctx, lo, hi)
		if err != nil {
			return err
		}
		looked += width
		found, cut = f.q.Trim(append(some, found...))
		cut = cut || over && (f.q.Newest == 0 || len(found) < f.q.Newest)
		hi = lo - 1
	}
	if cut && lost == 0 {
		lost = found[0].Seq - 1
	}
	if f.q.Exact {
		after := f.q.After
		if floor > f.q.After+1 && !f.q.Since.IsZero() {
			after = floor - 1
		}
		removed, err := f.lost(ctx, after)
		if err != nil {
			return err
		}
		if removed > after {
			lost = max(lost, removed)
		}
	}
	for i := range found {
		if found[i].Seq <= lost {
			continue // something after it is lost
		}
		if err := handle(&found[i]); err != nil {
			return err
		}
	}
	if lost > 0 {
		return lostError(lost, "the newest %d, within %d entries and %d bytes", len(found), looked, f.q.Bytes)
	}
	return nil
}

// newestWindow returns the newest entries of a window within the bounds. over says that there are more.
func (f *fetch) newestWindow(ctx context.Context, lo, hi uint64) (some []cluster.Entry, over bool, err error) {
	var bytes int64
	trim := func() {
		var cut bool
		some, cut = f.q.Trim(some)
		some, bytes, over = slices.Clone(some), 0, over || cut // the clone frees what was dropped
		for i := range some {
			bytes += int64(len(some[i].Frame.Bytes))
		}
	}
	err = f.window(ctx, lo, hi, func(e *cluster.Entry) error {
		some = append(some, *e)
		if bytes += int64(len(e.Frame.Bytes)); f.q.Bytes > 0 && bytes > 2*f.q.Bytes {
			trim() // a window may have many times the bytes that are wanted
		}
		return nil
	})
	trim()
	return some, over, err
}

// window calls emit for the subject's entries from lo to hi, both included.
func (f *fetch) window(ctx context.Context, lo, hi uint64, emit func(*cluster.Entry) error) error {
	for lo <= hi {
		next, more, err := f.batch(ctx, lo, hi, emit)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
		lo = next
		if !more {
			break
		}
	}
	if lo > min(hi, f.last) {
		return nil
	}
	// Slow path: the replica that has answered does not have the newest entry that the leader has. Ask the leader.
	for lo <= hi {
		m, ok, err := f.l.get(ctx, f.q.Partition, getRequest{Seq: lo, Next: f.subject})
		if err != nil {
			return err
		}
		if !ok || m.Seq > hi {
			return nil
		}
		var e cluster.Entry
		f.l.decodeStored(f.q.Partition, m, &e)
		if err := emit(&e); err != nil {
			return err
		}
		lo = m.Seq + 1
	}
	return nil
}

// batchRequest asks any replica for messages.
type batchRequest struct {
	Seq   uint64 `json:"seq"`
	Next  string `json:"next_by_subj"`
	Batch int    `json:"batch"`
	Bytes int    `json:"max_bytes"`
}

// batch asks for some entries from lo on. It returns the sequence to go on with, and whether the replica has more. Its error is
// errEnough if it has met an entry above hi.
func (f *fetch) batch(ctx context.Context, lo, hi uint64, emit func(*cluster.Entry) error) (next uint64, more bool, err error) {
	messages := make(chan *natsgo.Msg, fetchBatch+1)
	inbox := natsgo.NewInbox()
	sub, err := f.l.nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return lo, false, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	body, err := json.Marshal(batchRequest{Seq: lo, Next: f.subject, Batch: fetchBatch, Bytes: fetchBytes})
	if err != nil {
		return lo, false, err
	}
	link, _ := f.l.state()
	if err := f.l.nc.PublishRequest(f.l.api("DIRECT.GET."+f.l.o.StreamName(f.q.Partition)), inbox, body); err != nil {
		return lo, false, err
	}
	silence := time.NewTimer(apiTimeout)
	defer silence.Stop()
	for next = lo; ; {
		var msg *natsgo.Msg
		select {
		case msg = <-messages:
		case <-link:
			return next, false, errLost
		case <-f.l.closed:
			return next, false, errLost
		case <-silence.C:
			return next, false, fmt.Errorf("no answer to a direct read within %s", apiTimeout)
		case <-ctx.Done():
			return next, false, ctx.Err()
		}
		switch status := first(msg.Header, "Status"); status {
		case "":
		case "204": // the end of the batch
			return next, first(msg.Header, "Nats-Num-Pending") != "0", nil
		case "404", "503": // the replica has nothing from here on; nobody answers direct reads
			return next, false, nil
		default:
			return next, false, fmt.Errorf("NATS: direct read: status %s %s", status, first(msg.Header, "Description"))
		}
		e := cluster.Entry{Partition: f.q.Partition}
		at, err1 := time.Parse(time.RFC3339Nano, first(msg.Header, "Nats-Time-Stamp"))
		seq, err2 := strconv.ParseUint(first(msg.Header, "Nats-Sequence"), 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return next, false, fmt.Errorf("NATS: direct read: %w", err)
		}
		if seq > hi {
			return next, false, errEnough
		}
		e.Seq, e.At = seq, at.UnixNano()
		f.l.decode(first(msg.Header, "Nats-Subject"), msg.Header, msg.Data, &e)
		next = seq + 1
		if err := emit(&e); err != nil {
			return next, false, err
		}
	}
}
