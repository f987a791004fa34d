package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// One call of the script takes up to so many messages and so many bytes, unless a single message is larger. The script takes
// Redis some 10 us for each message, during which Redis does nothing else.
const (
	batchMessages = 128
	batchBytes    = 1 << 20
)

// appender appends the messages of one partition, in the order of their arrival. One call of the script is under way at a time:
// what arrives meanwhile goes with the next one. So a call that fails can never be overtaken by a later one, and the more messages
// arrive, the more share a call.
//
//	Append:  queue the messages; wake; wait for their results or the end of the context
//	run:     take a batch from the queue; mark it as sent; run the script; set the results
type appender struct {
	l    *Log
	p    *partition
	wake chan struct{} // has room for one: the queue is not empty
	// renew asks for another connection before the next batch, see Log.renew.
	renew atomic.Bool

	mu    sync.Mutex
	queue []*item
}

// item is a message on its way. The appender's mu guards state and result.
type item struct {
	args   [8]string // of append.lua; the place of the ID is set when the item is sent
	id     string    // the key of the message's ID, "" if it has none
	bytes  int
	state  itemState
	result cluster.Result
	call   *appendCall
}

type itemState uint8

const (
	itemQueued itemState = iota
	itemSent             // perhaps Redis has it
	itemDone
)

// appendCall is a call of Append that waits.
type appendCall struct{ left sync.WaitGroup }

func newAppender(l *Log, p *partition) *appender {
	return &appender{l: l, p: p, wake: make(chan struct{}, 1)}
}

// Append stores the messages, see cluster.Log. While Redis cannot be reached it does not wait: the messages fail with
// cluster.ErrAway as soon as an attempt to connect has failed.
func (l *Log) Append(ctx context.Context, messages []cluster.Message, results []cluster.Result) {
	items := make([]*item, len(messages))
	call := &appendCall{}
	perPartition := make([][]*item, len(l.partitions))
	for i := range messages {
		m := &messages[i]
		if len(m.Frame.Bytes)+len(m.Key) > maxFrameBytes {
			results[i] = cluster.Result{Err: cluster.ErrTooLarge}
			continue
		}
		n := 0
		switch m.Op {
		case cluster.OpEvent:
			n = cluster.PartitionOf(m.Key, len(l.partitions))
		case cluster.OpEpoch:
			n = m.Partition
		}
		items[i] = newItem(m, l.partitions[n], call)
		perPartition[n] = append(perPartition[n], items[i])
	}
	for n, list := range perPartition {
		if len(list) > 0 {
			call.left.Add(len(list))
			l.partitions[n].appender.add(list)
		}
	}

	answered := make(chan struct{})
	go func() {
		call.left.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done():
		for n, list := range perPartition {
			if len(list) > 0 {
				l.partitions[n].appender.abandon(list)
			}
		}
	}
	for i, it := range items {
		if it != nil {
			results[i] = it.result
		}
	}
}

func newItem(m *cluster.Message, p *partition, call *appendCall) *item {
	it := &item{call: call}
	kind, epoch := "m", ""
	if m.Op == cluster.OpEpoch && m.Begun == 0 { // an entry that repeats an epoch is like any other
		kind, epoch = "x", strconv.FormatUint(m.Epoch, 36)
	}
	if m.ID != "" {
		it.id = p.id + m.ID
	}
	key := m.Key
	if m.Op != cluster.OpEvent {
		key = ""
	}
	header := string(cluster.AppendHeader(nil, m))
	frame := string(m.Frame.Bytes) // Append may return while this is being sent
	it.args = [8]string{kind, "0", fmt.Sprintf("%03d", rand.IntN(1000)), key, header, frame, strconv.FormatUint(m.After, 10), epoch}
	it.bytes = len(key) + len(header) + len(frame) + len(it.id)
	return it
}

func (a *appender) add(list []*item) {
	a.mu.Lock()
	if a.l.ctx.Err() != nil {
		for _, it := range list {
			it.finish(cluster.Result{Err: cluster.ErrAway})
		}
	} else {
		a.queue = append(a.queue, list...)
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// abandon answers those that have no answer yet. Those that were not sent leave the queue.
func (a *appender) abandon(list []*item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range list {
		switch it.state {
		case itemQueued:
			it.finish(cluster.Result{Err: cluster.ErrAway})
		case itemSent:
			it.finish(cluster.Result{Err: cluster.ErrUnknown})
		}
	}
}

// finish sets the result, unless the item has one. The appender's mu is held.
func (it *item) finish(r cluster.Result) {
	if it.state != itemDone {
		it.state, it.result = itemDone, r
		it.call.left.Done()
	}
}

// run appends until the log is closed.
func (a *appender) run() {
	var k *link
	defer func() {
		if k != nil {
			k.close()
		}
		a.fail(cluster.ErrAway)
	}()
	for {
		select {
		case <-a.l.ctx.Done():
			return
		case <-a.wake:
		}
		for a.waiting() && a.l.ctx.Err() == nil {
			if a.renew.Swap(false) && k != nil {
				k.close()
				k = nil
			}
			if k == nil {
				var err error
				if k, err = a.l.dial(a.l.ctx, linkDedicated); err != nil {
					k = nil
					a.l.connected.Store(false)
					a.l.explain(err)
					a.fail(fmt.Errorf("%w: redis: %w", cluster.ErrAway, err))
					break
				}
			}
			if err := a.send(k); !stays(err) {
				a.l.explain(err)
				k.close()
				k = nil
			}
		}
	}
}

func (a *appender) waiting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue) > 0
}

// fail answers everything that is in the queue.
func (a *appender) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.queue {
		it.finish(cluster.Result{Err: err})
	}
	a.queue = nil
}

// take returns the next batch, and marks its items as sent.
func (a *appender) take() (batch []*item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	bytes, taken := 0, 0
	for _, it := range a.queue {
		if len(batch) == batchMessages || len(batch) > 0 && bytes+it.bytes > batchBytes {
			break
		}
		taken++
		if it.state == itemQueued {
			it.state = itemSent
			bytes += it.bytes
			batch = append(batch, it)
		}
	}
	clear(a.queue[:taken]) // the queue does not keep what is done
	if a.queue = a.queue[taken:]; len(a.queue) == 0 {
		a.queue = nil
	}
	return batch
}

// send appends a batch. An error that is not about single messages is returned.
func (a *appender) send(k *link) (err error) {
	batch := a.take()
	if len(batch) == 0 {
		return nil
	}
	var answers []string
	defer func() { a.answer(batch, answers, err) }()
	defer a.l.recovered(&err)
	keys, args := a.call(batch, k.now())
	ctx, cancel := context.WithTimeout(a.l.ctx, a.l.o.Timeout)
	defer cancel()
	m, err := appendScript.run(ctx, k.dedicated, keys, args)
	if err == nil {
		answers, err = m.AsStrSlice()
	}
	if err == nil && len(answers) != len(batch) {
		err = fmt.Errorf("%d answers for %d messages", len(answers), len(batch))
	}
	return err
}

// call returns the keys and the arguments of append.lua.
func (a *appender) call(batch []*item, now int64) (keys, args []string) {
	keys = append(keys, a.p.stream, a.p.facts)
	args = make([]string, 0, 4+8*len(batch))
	digits := make([]string, len(batch)) // ascending, because the entries of one call have the same time before them
	for i, it := range batch {
		digits[i] = it.args[2]
	}
	slices.Sort(digits)
	args = append(args, strconv.FormatInt(a.l.o.RetentionEntries, 10),
		strconv.FormatInt(max(a.l.o.DuplicateWindow.Milliseconds(), 1), 10), flag(a.l.synced.Load()),
		strconv.FormatInt(now, 10))
	for i, it := range batch {
		it.args[2] = digits[i]
		if it.id != "" {
			keys = append(keys, it.id)
			it.args[1] = strconv.Itoa(len(keys))
		}
		args = append(args, it.args[:]...)
	}
	return keys, args
}

// answer sets the results of a batch.
func (a *appender) answer(batch []*item, answers []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, it := range batch {
		var r cluster.Result
		if err != nil {
			r.Err = unanswered(err)
		} else {
			r = result(answers[i])
		}
		it.finish(r)
	}
}

// unanswered is the error of messages whose call has failed as a whole.
func unanswered(err error) error {
	if re, ok := rueidis.IsRedisErr(err); ok { // refused before the script ran, or by its first lines
		return refused(re.Error())
	}
	return fmt.Errorf("%w (%w)", cluster.ErrUnknown, err)
}

// result reads the answer to one message.
func result(answer string) cluster.Result {
	if answer == "" {
		return cluster.Result{Err: cluster.ErrUnknown}
	}
	seq, err := strconv.ParseUint(answer[1:], 10, 64)
	switch {
	case err == nil && answer[0] == 's':
		return cluster.Result{Seq: seq}
	case err == nil && answer[0] == 'd':
		return cluster.Result{Seq: seq, Duplicate: true}
	}
	return cluster.Result{Err: refused(strings.TrimPrefix(answer, "ERR "))}
}
