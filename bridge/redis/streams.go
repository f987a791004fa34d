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

	"fanfare/bridge/relay"
)

// streams is the source of the entries of streams. Its fields belong to the worker's goroutine.
//
// XREAD waits until one of the streams has a new entry; the entry that it returns is only a signal. A poll then takes a
// snapshot: the entries after the position and what Redis says about the stream, both at one moment (MULTI). Without the
// second, a loss of entries that were trimmed in between would go unnoticed.
//
//	session:  set the start of each new stream; poll all streams until nothing is unread; call live
//	then:     XREAD BLOCK; poll the streams that have new entries; every pollInterval look for new names and poll all
type streams struct {
	w        *worker
	all      []*stream
	byName   map[string]*stream
	byKey    map[string]*stream
	polledAt time.Time // when all were last polled
}

func newStreams(w *worker) *streams {
	return &streams{w: w, byName: map[string]*stream{}, byKey: map[string]*stream{}}
}

func (s *streams) run(ctx context.Context, c rueidis.DedicatedClient, live, _ func()) error {
	// A command without a deadline makes rueidis read in the background from here on. Then a canceled context ends a wait.
	if err := c.Do(ctx, c.B().Ping().Build()).Error(); err != nil {
		return err
	}
	if s.w.b.o.Fleet != nil {
		return s.runFleet(ctx, c, live)
	}
	if err := s.pollAll(ctx, c); err != nil {
		return err
	}
	if err := s.catchUp(ctx, c); err != nil {
		return err
	}
	live()
	return s.follow(ctx, c)
}

// follow polls the streams that have new entries, until an error or another leader of the fleet ends it.
func (s *streams) follow(ctx context.Context, c rueidis.DedicatedClient) error {
	for {
		if !s.w.leads(LeadStreams) {
			return errNotLeading
		}
		ready, err := s.wait(ctx, c)
		if err != nil {
			return err
		}
		for _, st := range ready {
			if err := s.poll(ctx, c, st); err != nil {
				return err
			}
		}
		if time.Since(s.polledAt) >= s.w.b.o.pollInterval {
			if err := s.pollAll(ctx, c); err != nil {
				return err
			}
		}
		s.count()
	}
}

// catchUp polls until no stream has unread entries. It gives up after pollInterval if the streams grow faster than it reads.
func (s *streams) catchUp(ctx context.Context, c rueidis.DedicatedClient) error {
	for begin, more := time.Now(), true; more && time.Since(begin) < s.w.b.o.pollInterval; {
		more = false
		for _, st := range s.all {
			if !st.unread {
				continue
			}
			if err := s.poll(ctx, c, st); err != nil {
				return err
			}
			more = more || st.unread
		}
	}
	return nil
}

// pollAll looks for new streams and polls all. Only this detects a stream that was deleted, or created again with lower ids:
// XREAD does not return for those.
func (s *streams) pollAll(ctx context.Context, c rueidis.DedicatedClient) error {
	if err := s.find(ctx, c); err != nil {
		return err
	}
	for _, st := range s.all {
		var err error
		switch {
		case st.positioned:
		case s.w.b.o.Fleet != nil:
			err = s.setStored(ctx, c, st)
		case !s.w.loop.Worked():
			err = s.setStart(ctx, c, st)
		}
		if err != nil {
			return err
		}
		if err := s.poll(ctx, c, st); err != nil {
			return err
		}
	}
	s.polledAt = time.Now()
	s.count()
	return nil
}

// count sets the metrics.
func (s *streams) count() {
	lag := int64(0)
	for _, st := range s.all {
		lag += st.lag
	}
	s.w.metrics.streams.Set(float64(len(s.all)))
	s.w.metrics.behind.Set(float64(lag))
}

// do sends commands and returns their results. They must be answered within the timeout, or within wait longer if one blocks.
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

// find adds the streams that are named, and those that now exist and match a pattern.
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
	errTaken = errors.New("another stream is published to this key already, and clients can resume in one stream only: " +
		"give each stream its own key (redisKeys)")
	errStreams = errors.New("redisMaxStreams streams are read already: raise redisMaxStreams, or narrow redisStreams")
	errType    = errors.New("is not a stream")
)

// add adds a stream to those that are read, or refuses it with a reason.
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

// setStart sets the position of a stream that exists when the bridge first connects: far enough back to fill the key's
// history. Clients that are subscribed to the key already came before that history, so a gap is reported to them, as to
// clients that resume by an unknown id.
func (s *streams) setStart(ctx context.Context, c rueidis.DedicatedClient, st *stream) error {
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
		l, err := s.snapshot(ctx, c, st)
		if err != nil {
			return err
		}
		st.last = l.last // the end of the stream
	} else {
		st.last = oldest.before()
	}
	st.count = -1
	if !st.last.zero() && s.w.b.o.Engine.Count(st.key) > 0 {
		if s.w.b.o.Fleet != nil {
			return s.store(ctx, st, []relay.Message{s.w.gapMessage(st.key, -1, "")})
		}
		s.w.reportGap(st.key, -1, "")
	}
	return nil
}

// newest returns up to n entries of the stream, from the id end backwards, the newest first. It returns none if the name is
// not a stream's.
func (s *streams) newest(ctx context.Context, c rueidis.DedicatedClient, st *stream, end string, n int) ([]entry, error) {
	read := c.B().Arbitrary("XREVRANGE").Keys(st.name).Args(end, "-", "COUNT", strconv.Itoa(n)).Build()
	results, err := s.do(ctx, c, 0, read)
	if err != nil {
		return nil, err
	}
	m, err := results[0].ToMessage()
	if re, ok := rueidis.IsRedisErr(err); ok && hasCode(re, "WRONGTYPE") {
		return nil, nil // the next poll reports it
	}
	if err != nil {
		return nil, err
	}
	return parseEntries(m)
}

// snapshot asks Redis for a batch of entries after the stream's position and for the state of the stream, at one moment.
func (s *streams) snapshot(ctx context.Context, c rueidis.DedicatedClient, st *stream) (snapshot, error) {
	results, err := s.do(ctx, c, 0,
		c.B().Multi().Build(),
		c.B().Arbitrary("XRANGE").Keys(st.name).Args(st.last.next().String(), "+", "COUNT", strconv.Itoa(st.batch)).Build(),
		c.B().Arbitrary("XINFO", "STREAM").Keys(st.name).Build(),
		c.B().Exec().Build(),
	)
	if err != nil {
		return snapshot{}, err
	}
	for _, r := range results { // a command may be refused before EXEC: NOPERM, LOADING, MOVED
		if err := r.Error(); err != nil {
			return snapshot{}, err
		}
	}
	both, err := results[3].ToArray()
	if err != nil {
		return snapshot{}, err
	}
	if len(both) != 2 {
		return snapshot{}, fmt.Errorf("redis: EXEC has %d answers for 2 commands", len(both))
	}
	return parseSnapshot(both[0], both[1])
}

// poll publishes the entries after the stream's position, up to a batch.
func (s *streams) poll(ctx context.Context, c rueidis.DedicatedClient, st *stream) error {
	l, err := s.snapshot(ctx, c, st)
	if err != nil {
		st.batch = max(st.batch/2, 1) // it may have been too large to arrive in time
		return err
	}
	after := ""
	if !st.last.zero() {
		after = st.last.String()
	}
	entries, gap, missed := st.advance(l)
	st.sized(entries)
	if st.wrongType {
		s.w.refuse(reasonType, st.name, errType)
	}
	var messages []relay.Message // of a fleet
	switch {
	case gap && s.w.b.o.Fleet != nil:
		m := s.w.gapMessage(st.key, missed, after)
		m.ID = "r:" + st.name + ":gap:" + after + ":" + l.last.String()
		messages = append(messages, m)
	case gap:
		s.w.reportGap(st.key, missed, after)
	}
	for _, e := range entries {
		s.w.metrics.messages.Inc()
		ev, err := entryEvent(e.fields, s.w.b.o.Payload)
		if err != nil {
			s.w.refuse(reasonInvalid, st.name, err)
			continue
		}
		ev.ID = e.id.String()
		if s.w.b.o.Fleet != nil {
			messages = append(messages, relay.Message{ID: "r:" + st.name + ":" + ev.ID, Key: st.key, Event: ev})
			continue
		}
		s.w.publish(st.name, st.key, ev)
	}
	if len(messages) > 0 {
		return s.store(ctx, st, messages)
	}
	return nil
}

// wait waits for new entries and returns the streams that have unread ones. It returns none if nothing has come for a while.
func (s *streams) wait(ctx context.Context, c rueidis.DedicatedClient) (ready []*stream, err error) {
	block := min(s.w.b.o.Timeout, s.w.b.o.pollInterval)
	if s.w.b.o.Fleet != nil {
		block = min(block, leadPoll)
	}
	var names, ids []string
	for _, st := range s.all {
		switch {
		case st.unread:
			ready = append(ready, st)
		case !st.wrongType: // XREAD fails for all streams if one name is not a stream's
			names, ids = append(names, st.name), append(ids, st.last.String())
		}
	}
	if len(names) == 0 {
		if len(ready) == 0 {
			return nil, s.pause(ctx, c, block)
		}
		return ready, nil
	}
	read := c.B().Arbitrary("XREAD", "COUNT", "1")
	blocks := len(ready) == 0
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
		return ready, nil
	case ok && hasCode(re, "WRONGTYPE"):
		s.polledAt = time.Time{} // one is no longer a stream: poll all to find out which
		return ready, nil
	case err != nil:
		return nil, err
	}
	for name := range list {
		if st := s.byName[name]; st != nil {
			ready = append(ready, st)
		}
	}
	return ready, nil
}

// pause waits while there is nothing to read, and then checks that the connection is alive.
func (s *streams) pause(ctx context.Context, c rueidis.DedicatedClient, d time.Duration) error {
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
