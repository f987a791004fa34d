package pub

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// read is a line that was read, and is to be sent or was refused.
type read struct {
	item
	refusal string // why it was refused; "" if it was not
}

type batch []read

// items returns the lines that are to be sent.
func (b batch) items() (items []item) {
	for _, r := range b {
		if r.refusal == "" {
			items = append(items, r.item)
		}
	}
	return items
}

// queue holds the lines that were read and not sent yet, up to a batch and one line more.
type queue struct {
	mu      sync.Mutex
	changed sync.Cond // signals a change of any field below
	lines   batch
	bytes   int
	closed  bool // no more lines are accepted
	err     error
}

func newQueue() *queue {
	q := new(queue)
	q.changed.L = &q.mu
	return q
}

// put waits for room and adds a line. It returns false if the queue is closed.
func (q *queue) put(r read) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.bytes >= batchBytes || len(q.lines) >= batchLines) {
		q.changed.Wait()
	}
	if q.closed {
		return false
	}
	q.lines = append(q.lines, r)
	q.bytes += len(r.body)
	q.changed.Broadcast()
	return true
}

// take waits for lines and returns all that the queue has. At the end it returns none, and the error of the input.
func (q *queue) take() (batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && !q.closed {
		q.changed.Wait()
	}
	b := q.lines
	q.lines, q.bytes = nil, 0
	q.changed.Broadcast()
	return b, q.err
}

// close closes the queue. Its lines can still be taken.
func (q *queue) close() { q.end(nil) }

// end closes the queue with the error that ended the input.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed, q.err = true, err
	}
	q.changed.Broadcast()
}

// errTooLong says that a line is longer than the limit. The next call continues after that line.
var errTooLong = errors.New("the line is too long")

// lines reads lines that end with LF or CRLF. The last line may have no end.
type lines struct {
	in   *bufio.Reader
	most int
	buf  []byte
}

func newLines(in io.Reader, most int) *lines {
	return &lines{in: bufio.NewReaderSize(in, 64<<10), most: most}
}

// next returns the next line without its end. It is valid until the next call. The error is errTooLong, io.EOF, or one of
// reading.
func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.in.ReadSlice('\n')
		if len(l.buf)+len(part) > l.most+2 { // 2 is for the line end
			long = true
		} else if !long {
			l.buf = append(l.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && (len(l.buf) > 0 || long) {
			err = nil // the next call reports the end
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
