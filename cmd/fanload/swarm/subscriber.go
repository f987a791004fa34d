//go:build linux

package swarm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/cmd/fanload/wire"
	"fanfare/codec"
)

// subscriber has one connection at a time, and reconnects. It belongs to its loop.
type subscriber struct {
	index, key int    // of the plan
	slot       int32  // its place in the loop's subs
	fd         int    // -1: none
	generation uint32 // of the socket; distinguishes epoll events of a closed socket from those of the next one
	state      state
	stalls     bool // will stop reading in the mode stall
	stalled    bool
	queued     bool
	times      int      // how often it was subscribed
	newcomer   bool     // it replaced another subscriber
	firstEvent bool     // it has had an event on this connection
	attempts   int      // failed reconnects in a row
	began      int64    // when the connect began
	left       int64    // when the last stream ended; 0: it has not
	due        int64    // when to reconnect
	leaveBy    int64    // when to leave at the latest, to be replaced; 0: it stays
	until      int64    // the newest sequence that it must have before it leaves
	secure     *secure  // of this connection; nil: http, or HTTP/2
	carrier    *carrier // HTTP/2: the connection that it shares with others; nil: HTTP/1.1
	stream     uint32   // of the carrier; 0: none
	taken      uint32   // bytes of the stream since its last window update

	out    []byte // the unsent rest of the request
	head   wire.Head
	body   wire.Body
	parser codec.Parser
	check  sequence.Checker
	lastID []byte // the value of Last-Event-ID
	sample []byte // the beginning of a response that is not a stream
}

type state uint8

const (
	idle state = iota
	connecting
	securing // the TLS handshake
	sending
	heading   // waiting for the head
	streaming // subscribed
	refused   // reading a response that is not a stream
	waiting   // before a reconnect
	over
)

func (s *subscriber) opening() bool {
	return s.state >= connecting && s.state <= heading || s.state == refused
}

var errEnded = errors.New("end of stream")

// ready handles what epoll reports about a socket.
func (l *loop) ready(s *subscriber, generation uint32, events uint32) {
	if s.generation != generation || s.fd < 0 {
		return // the socket was closed earlier in this batch
	}
	if s.stalled {
		l.lose(s, errEnded) // epoll reports only its hang-ups and errors
		return
	}
	if s.state == connecting {
		if code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			l.lose(s, fmt.Errorf("connect: %w", errors.Join(err, syscall.Errno(code))))
			return
		}
		l.result.Connect.Record(l.now - s.began)
		s.state = sending
		if l.trust != nil {
			if err := l.handshake(s); err != nil {
				l.lose(s, err)
			}
			return
		}
	}
	switch s.state {
	case securing:
		if err := l.feedHandshake(s.fd, s.secure); err != nil {
			l.lose(s, err)
		}
		return
	case sending:
		if err := l.sendRequest(s); err != nil {
			l.lose(s, err)
		}
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0 {
		l.read(s)
	}
}

func (l *loop) sendRequest(s *subscriber) error {
	if s.secure != nil {
		if done, err := l.sendSecure(s); !done || err != nil {
			return err
		}
	} else {
		n, err := unix.Write(s.fd, s.out)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("write: %w", err)
		}
		if s.out = s.out[max(0, n):]; len(s.out) > 0 {
			return nil
		}
	}
	s.out, s.state = nil, heading
	err := l.watch(unix.EPOLL_CTL_MOD, s, unix.EPOLLIN)
	if err == nil && l.plan.Ready == plan.ReadySent {
		l.subscribed(s)
	}
	return err
}

// watch sets what epoll reports about a subscriber's socket.
func (l *loop) watch(op int, s *subscriber, events uint32) error {
	return unix.EpollCtl(l.epoll, op, s.fd, &unix.EpollEvent{Events: events, Fd: s.slot, Pad: int32(s.generation)})
}

// read reads from the socket once. epoll is level-triggered, and reports if there is more.
func (l *loop) read(s *subscriber) {
	// A raw system call: the socket does not block, and the bookkeeping of the scheduler costs as much as a small read.
	// Safety: buf belongs to the loop and is not empty.
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(&l.buf[0])), uintptr(len(l.buf)))
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		l.lose(s, fmt.Errorf("read: %w", errno))
		return
	case n == 0 && s.secure == nil:
		l.lose(s, errEnded)
		return
	}
	l.counts.Bytes += int64(n)
	var err error
	if s.secure == nil {
		err = l.consume(s, l.buf[:n])
	} else {
		err = l.readSecure(s.secure, int(n), func(b []byte) error { return l.consume(s, b) })
	}
	if err != nil {
		l.lose(s, err)
	}
}

// consume processes bytes that were read.
func (l *loop) consume(s *subscriber, b []byte) error {
	if s.state == heading || s.state == streaming && s.head.Status < 200 {
		rest, done, err := s.head.Feed(b)
		if !done || err != nil {
			return err
		}
		l.headed(s)
		b = rest
	}
	return l.content(s, b)
}

// headed handles the end of the response's head.
func (l *loop) headed(s *subscriber) {
	l.result.Head.Record(l.nowAgain() - s.began)
	s.body.Begin(&s.head)
	if s.head.Status != 200 || s.head.ContentType != "text/event-stream" || s.head.Encoding != "" {
		l.refuse(s)
	} else if s.state == heading {
		l.subscribed(s)
	} else if l.expecting && !s.check.Begun() {
		s.check.Begin(l.ledger.Sent(s.key)) // before expectFresh would
	}
}

// content processes bytes of the response's body.
func (l *loop) content(s *subscriber, b []byte) error {
	l.current, l.parseError = s, nil
	l.nowAgain()
	_, err := s.body.Feed(b, l.feed)
	if l.parseError != nil {
		return l.parseError
	}
	if err == nil && s.body.Done() {
		return errEnded
	}
	return err
}

// subscribed records that the subscriber is subscribed.
func (l *loop) subscribed(s *subscriber) {
	s.state, s.attempts = streaming, 0
	l.counts.Opening--
	l.counts.Open++
	l.live[s.key]++
	if s.times++; s.times == 1 {
		l.counts.Connected++
		l.counts.LastConnected = l.now
		l.expect(s)
	}
	if s.left != 0 {
		l.counts.Reconnects++
		l.result.Reconnect.Record(l.now - s.left)
		s.left = 0
	}
}

// refuse begins to read a response that is not a stream: its status, and the beginning of its body.
func (l *loop) refuse(s *subscriber) {
	if s.state == streaming { // with --ready sent it counted as a stream
		l.counts.Open--
		l.live[s.key]--
		l.counts.Opening++
		if s.times--; s.times == 0 {
			l.counts.Connected--
		}
	}
	s.state, s.sample = refused, []byte{}
}

// onContent processes the body, without its transfer coding.
func (l *loop) onContent(b []byte) {
	s := l.current
	if s.state == refused {
		s.sample = append(s.sample, b[:min(len(b), 200-min(200, len(s.sample)))]...)
		return
	}
	if err := s.parser.Feed(b, l.emit); err != nil && l.parseError == nil {
		l.parseError = err
	}
}

func (l *loop) onComment([]byte) { l.counts.Comments++ }

// onEvent processes an event of the current subscriber.
func (l *loop) onEvent(m codec.Message) {
	s := l.current
	if string(m.Type) == "position" && len(m.Data) == 0 {
		return // the first event of a Fanfare stream has only an id; nobody published it
	}
	if !s.firstEvent {
		s.firstEvent = true
		l.result.FirstEvent.Record(l.now - s.began)
	}
	key, seq, ts, ok := plan.ParsePayload(m.Data, l.plan.Run, l.plan.Size)
	switch {
	case !ok && string(m.Type) == l.plan.GapEvent:
		l.counts.Gaps++
		return
	case !ok:
		l.onOther(s, m.Data)
		return
	case key != s.key:
		l.counts.Misrouted++
		return
	}
	l.counts.Events++
	switch s.check.See(seq) {
	case sequence.Duplicate:
		l.counts.Duplicate++
		return
	case sequence.Late:
		l.counts.Late++
		return
	case sequence.Reordered:
		l.counts.Reordered++
	case sequence.New:
	}
	l.counts.Delivered++
	l.counts.LastDelivery = l.now
	if ts >= l.measureFrom {
		l.counts.Measured++
		l.result.Latency.Record(l.now - ts)
	}
	if l.awaiting > 0 && seq == l.awaits[key].seq {
		l.awaited(key)
	}
}

// onOther processes the data of an event that is not a payload of this run. An event whose data is cut off counts as malformed
// and not also as lost.
func (l *loop) onOther(s *subscriber, data []byte) {
	key, seq, cut := plan.CutPayload(data, l.plan.Run)
	if !cut {
		l.counts.Foreign++
		return
	}
	l.counts.Malformed++
	if seq == 0 || key >= 0 && key != s.key {
		return
	}
	s.check.See(seq)
	if l.awaiting > 0 && seq == l.awaits[s.key].seq {
		l.awaited(s.key)
	}
}

// lose handles the end of a connection, whoever ended it. The subscriber reconnects or is finished.
func (l *loop) lose(s *subscriber, why error) {
	if s.state == refused || s.opening() {
		l.loseOpening(s, why)
		return
	}
	l.counts.Open--
	l.live[s.key]--
	if l.awaiting > 0 && !s.stalls {
		if a := &l.awaits[s.key]; a.seq > 0 && !s.check.Has(a.seq) {
			l.awaited(s.key)
		}
	}
	if s.stalled {
		l.counts.StalledEnded++
	} else {
		l.counts.Ended++
		measure.Tally(l.result.Errors, "stream: "+kind(why))
	}
	s.left = l.now
	l.remember(s)
	l.shut(s)
	if s.stalled || !l.plan.Reconnect {
		s.state = over // events from now on are lost
		return
	}
	l.comeBack(s)
}

func (l *loop) loseOpening(s *subscriber, why error) {
	l.counts.Opening--
	l.failedAttempt(s, reason(s, why))
	if s.state == refused {
		measure.Tally(l.result.Statuses, answer(s))
	} else {
		measure.Tally(l.result.Errors, "connect: "+strings.TrimPrefix(kind(why), "connect: "))
	}
	l.shut(s)
	if s.times > 0 {
		l.counts.ReconnectFail++
		if s.attempts++; s.attempts < maxAttempts {
			l.comeBack(s)
			return
		}
		l.counts.GaveUp++
	} else {
		l.counts.Failed++
	}
	s.state = over
}

// remember keeps the last event id for the next connection.
func (l *loop) remember(s *subscriber) { s.lastID = append(s.lastID[:0], s.parser.LastEventID()...) }

// comeBack schedules a reconnect after the reconnection time (WHATWG HTML 9.2.3): the server's retry, here at most 10 s, or the
// plan's delay.
func (l *loop) comeBack(s *subscriber) {
	wait := l.plan.ReconnectDelay.Microseconds()
	if retry, ok := s.parser.Retry(); ok {
		wait = min(retry.Microseconds(), 10_000_000)
		l.counts.Retries++
	}
	if s.attempts > 0 { // double it, to spare a server that is down
		wait = min(max(wait, 10_000)<<min(s.attempts, 10), 5_000_000)
	}
	l.wait(s, wait)
}

func (l *loop) wait(s *subscriber, micros int64) {
	s.state, s.due, s.queued = waiting, l.now+micros, false
	l.counts.Waiting++
	l.nextTick, l.nextSweep = l.now, l.now
}
