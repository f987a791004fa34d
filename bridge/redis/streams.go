package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// streams is the source of streams' entries. Its fields belong to the worker's goroutine.
//
// XREAD waits until one of the streams has news, and brings one entry that is only a signal. A look then reads what
// follows the position and what Redis says of the stream, both at one moment (MULTI): without the second, entries that
// were trimmed in between would be missed in silence.
//
//	session:  place each new stream, look at all until nothing is unread; works
//	then:     XREAD BLOCK, look at those with news; every lookInterval look at all of them, also for new names
type streams struct {
	w      *worker
	all    []*stream
	byName map[string]*stream
	byKey  map[string]*stream
	looked time.Time // when all were looked at
}

func newStreams(w *worker) *streams {
	return &streams{w: w, byName: map[string]*stream{}, byKey: map[string]*stream{}}
}

func (s *streams) run(ctx context.Context, c rueidis.DedicatedClient, live, _ func()) error {
	// Without a deadline, so that rueidis reads in the background from here on and a cancelled context ends a wait.
	if err := c.Do(ctx, c.B().Ping().Build()).Error(); err != nil {
		return err
	}
	if err := s.lookAtAll(ctx, c); err != nil {
		return err
	}
	if err := s.catchUp(ctx, c); err != nil {
		return err
	}
	live()
	for {
		news, err := s.wait(ctx, c)
		if err != nil {
			return err
		}
		for _, st := range news {
			if err := s.look(ctx, c, st); err != nil {
				return err
			}
		}
		if time.Since(s.looked) >= s.w.b.o.lookInterval {
			if err := s.lookAtAll(ctx, c); err != nil {
				return err
			}
		}
		s.count()
	}
}

// catchUp reads until no stream has anything unread, or for as long as is sensible if they grow faster than that.
func (s *streams) catchUp(ctx context.Context, c rueidis.DedicatedClient) error {
	for begin, more := time.Now(), true; more && time.Since(begin) < s.w.b.o.lookInterval; {
		more = false
		for _, st := range s.all {
			if !st.unread {
				continue
			}
			if err := s.look(ctx, c, st); err != nil {
				return err
			}
			more = more || st.unread
		}
	}
	return nil
}

// lookAtAll finds new streams, and takes a look at each. A stream that was deleted, or made again with lower ids, gives
// no news: only this finds it.
func (s *streams) lookAtAll(ctx context.Context, c rueidis.DedicatedClient) error {
	if err := s.find(ctx, c); err != nil {
		return err
	}
	for _, st := range s.all {
		if !st.placed && !s.w.worked {
			if err := s.place(ctx, c, st); err != nil {
				return err
			}
		}
		if err := s.look(ctx, c, st); err != nil {
			return err
		}
	}
	s.looked = time.Now()
	s.count()
	return nil
}

// count sets the gauges.
func (s *streams) count() {
	behind := int64(0)
	for _, st := range s.all {
		behind += st.behind
	}
	s.w.metrics.streams.Set(float64(len(s.all)))
	s.w.metrics.behind.Set(float64(behind))
}

// do gives a command until the timeout to be answered, and wait longer for one that blocks.
func (s *streams) do(ctx context.Context, c rueidis.DedicatedClient, wait time.Duration,
	commands ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+s.w.b.o.Timeout)
	defer cancel()
	results := c.DoMulti(ctx, commands...)
	for _, r := range results {
		if err := r.NonRedisError(); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// find adds the streams that are named, and those that patterns match and that are there now.
func (s *streams) find(ctx context.Context, c rueidis.DedicatedClient) error {
	wanted := s.w.b.o.Names.streams
	for _, name := range wanted.names {
		s.add(name)
	}
	for _, pattern := range wanted.patterns {
		for cursor := uint64(0); ; {
			results, err := s.do(ctx, c, 0, c.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Type("stream").Build())
			if err != nil {
				return err
			}
			page, err := results[0].AsScanEntry()
			if err != nil {
				return err
			}
			slices.Sort(page.Elements)
			for _, name := range page.Elements {
				s.add(name)
			}
			if cursor = page.Cursor; cursor == 0 {
				break
			}
		}
	}
	return nil
}

var (
	errTaken = errors.New("another stream is the key's already, and a position counts in one stream alone: " +
		"give each a key of its own (redisKeys)")
	errStreams = errors.New("redisMaxStreams are read already: raise it, or narrow redisStreams")
	errType    = errors.New("is not a stream")
)

// add has a stream read, unless it can't be.
func (s *streams) add(name string) {
	if s.byName[name] != nil {
		return
	}
	key, ok := s.w.b.o.Names.key(name)
	switch {
	case !ok:
		s.w.refuse(reasonName, name, errNoRule)
	case s.byKey[key] != nil:
		s.w.refuse(reasonTwice, name, errTaken)
	case len(s.all) >= s.w.b.o.MaxStreams:
		s.w.refuse(reasonStreams, name, errStreams)
	default:
		st := &stream{name: name, key: key, batch: firstBatch}
		s.byName[name], s.byKey[key] = st, st
		s.all = append(s.all, st)
	}
}

// place sets the position of a stream that is there when the bridge first meets Redis: so far back that the key's
// history is filled. Whoever subscribes to the key already came before its history: he is told of a gap, as one who
// resumes by an id that nobody knows.
func (s *streams) place(ctx context.Context, c rueidis.DedicatedClient, st *stream) error {
	limit, limitBytes := s.w.b.o.History(st.key)
	oldest, end := entryID{}, "+"
	for entries, bytes, more := 0, int64(0), true; more && entries < limit; {
		page := min(limit-entries, st.batch)
		list, err := s.newest(ctx, c, st, end, page)
		if err != nil {
			return err
		}
		st.sized(list)
		for _, e := range list {
			if bytes += int64(e.size()); bytes > limitBytes {
				break
			}
			entries++
			oldest = e.id
		}
		more = len(list) == page && bytes <= limitBytes
		end = oldest.before().String()
	}
	if oldest.zero() {
		l, err := s.ask(ctx, c, st)
		if err != nil {
			return err
		}
		st.last = l.last // behind all that there is
	} else {
		st.last = oldest.before()
	}
	st.count = -1
	if !st.last.zero() && s.w.b.o.Engine.Count(st.key) > 0 {
		s.w.tellGap(st.key, -1, "")
	}
	return nil
}

// newest returns up to n entries of the stream back from the id end, the newest first; none if it is no stream.
func (s *streams) newest(ctx context.Context, c rueidis.DedicatedClient, st *stream, end string, n int) ([]entry, error) {
	read := c.B().Arbitrary("XREVRANGE").Keys(st.name).Args(end, "-", "COUNT", strconv.Itoa(n)).Build()
	results, err := s.do(ctx, c, 0, read)
	if err != nil {
		return nil, err
	}
	m, err := results[0].ToMessage()
	if re, ok := rueidis.IsRedisErr(err); ok && hasCode(re, "WRONGTYPE") {
		return nil, nil // a look will say so
	}
	if err != nil {
		return nil, err
	}
	return parseEntries(m)
}

// ask takes a look from the stream's position.
func (s *streams) ask(ctx context.Context, c rueidis.DedicatedClient, st *stream) (look, error) {
	results, err := s.do(ctx, c, 0,
		c.B().Multi().Build(),
		c.B().Arbitrary("XRANGE").Keys(st.name).Args(st.last.next().String(), "+", "COUNT", strconv.Itoa(st.batch)).Build(),
		c.B().Arbitrary("XINFO", "STREAM").Keys(st.name).Build(),
		c.B().Exec().Build(),
	)
	if err != nil {
		return look{}, err
	}
	for _, r := range results { // what is refused is refused at once: NOPERM, LOADING, MOVED
		if err := r.Error(); err != nil {
			return look{}, err
		}
	}
	both, err := results[3].ToArray()
	if err != nil {
		return look{}, err
	}
	if len(both) != 2 {
		return look{}, fmt.Errorf("redis: EXEC has %d answers for 2 commands", len(both))
	}
	return parseLook(both[0], both[1])
}

// look publishes what follows the stream's position, up to a batch.
func (s *streams) look(ctx context.Context, c rueidis.DedicatedClient, st *stream) error {
	l, err := s.ask(ctx, c, st)
	if err != nil {
		st.batch = max(st.batch/2, 1) // it may have been too much to arrive in time
		return err
	}
	after := ""
	if !st.last.zero() {
		after = st.last.String()
	}
	entries, gap, missed := st.progress(l)
	st.sized(entries)
	if st.wrongType {
		s.w.refuse(reasonType, st.name, errType)
	}
	if gap {
		s.w.tellGap(st.key, missed, after)
	}
	for _, e := range entries {
		s.w.metrics.messages.Inc()
		ev, err := entryEvent(e.fields, s.w.b.o.Payload)
		if err != nil {
			s.w.refuse(reasonInvalid, st.name, err)
			continue
		}
		ev.ID = e.id.String()
		s.w.publish(st.name, st.key, ev)
	}
	return nil
}

// wait returns the streams that have unread entries, none if a while has passed without.
func (s *streams) wait(ctx context.Context, c rueidis.DedicatedClient) (news []*stream, err error) {
	block := min(s.w.b.o.Timeout, s.w.b.o.lookInterval)
	var names, ids []string
	for _, st := range s.all {
		switch {
		case st.unread:
			news = append(news, st)
		case !st.wrongType: // XREAD refuses all streams for one that is none
			names, ids = append(names, st.name), append(ids, st.last.String())
		}
	}
	if len(names) == 0 {
		if len(news) == 0 {
			return nil, s.rest(ctx, c, block)
		}
		return news, nil
	}
	read := c.B().Arbitrary("XREAD", "COUNT", "1")
	blocks := len(news) == 0
	if blocks {
		read = read.Args("BLOCK", strconv.FormatInt(max(block.Milliseconds(), 1), 10))
	}
	read = read.Args("STREAMS").Keys(names...).Args(ids...)
	var command rueidis.Completed
	if blocks {
		command = read.Blocking()
	} else {
		command = read.Build()
	}
	results, err := s.do(ctx, c, block, command)
	if err != nil {
		return nil, err
	}
	list, err := results[0].AsXReadSlices()
	switch re, ok := rueidis.IsRedisErr(err); {
	case rueidis.IsRedisNil(err):
		return news, nil
	case ok && hasCode(re, "WRONGTYPE"):
		s.looked = time.Time{} // one has become something else: find out which
		return news, nil
	case err != nil:
		return nil, err
	}
	for name := range list {
		if st := s.byName[name]; st != nil {
			news = append(news, st)
		}
	}
	return news, nil
}

// rest waits while there is nothing to read, and finds out if the connection is dead.
func (s *streams) rest(ctx context.Context, c rueidis.DedicatedClient, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	_, err := s.do(ctx, c, 0, c.B().Ping().Build())
	return err
}

func hasCode(err *rueidis.RedisError, code string) bool {
	return strings.HasPrefix(err.Error(), code+" ")
}
