package pub

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// read is a line that was read: to be sent, or refused already.
type read struct {
	item
	why string // it is refused; "" if not
}

type batch []read

// items are those that are to be sent.
func (b batch) items() (items []item) {
	for _, r := range b {
		if r.why == "" {
			items = append(items, r.item)
		}
	}
	return items
}

// queue holds what was read and not sent, up to a batch of it and one line more.
type queue struct {
	mu     sync.Mutex
	moved  sync.Cond // whenever something below changes
	lines  batch
	bytes  int
	closed bool // nothing is put any more
	err    error
}

func newQueue() *queue {
	q := new(queue)
	q.moved.L = &q.mu
	return q
}

// put waits for room. It returns false if the queue is closed.
func (q *queue) put(r read) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.bytes >= batchBytes || len(q.lines) >= batchLines) {
		q.moved.Wait()
	}
	if q.closed {
		return false
	}
	q.lines = append(q.lines, r)
	q.bytes += len(r.body)
	q.moved.Broadcast()
	return true
}

// take waits for lines and returns all that are there; none at the end, with the error of the input.
func (q *queue) take() (batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && !q.closed {
		q.moved.Wait()
	}
	b := q.lines
	q.lines, q.bytes = nil, 0
	q.moved.Broadcast()
	return b, q.err
}

// close ends the queue; what is in it can still be taken.
func (q *queue) close() { q.end(nil) }

// end is close, with the error that ended the input.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed, q.err = true, err
	}
	q.moved.Broadcast()
}

// errTooLong says that a line was longer than the limit. The next call goes on behind it.
var errTooLong = errors.New("the line is too long")

// lines reads lines that end with LF or CRLF; the last one may have no end.
type lines struct {
	in   *bufio.Reader
	most int
	buf  []byte
}

func newLines(in io.Reader, most int) *lines {
	return &lines{in: bufio.NewReaderSize(in, 64<<10), most: most}
}

// next returns the next line without its end, valid until the next call. Errors: errTooLong, io.EOF, those of reading.
func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.in.ReadSlice('\n')
		if len(l.buf)+len(part) > l.most+2 { // the line's end
			long = true
		} else if !long {
			l.buf = append(l.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && (len(l.buf) > 0 || long) {
			err = nil // the next call finds the end
		}
		if err != nil {
			return nil, err
		}
		break
	}
	text, _ := bytes.CutSuffix(l.buf, []byte("\n"))
	text, _ = bytes.CutSuffix(text, []byte("\r"))
	if long || len(text) > l.most {
		return nil, errTooLong
	}
	return text, nil
}
