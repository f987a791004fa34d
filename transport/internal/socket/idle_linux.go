package socket

import "time"

// Idle bounds the connections of a listener that have not sent a request: silent
// ones, those between two requests, and those whose request arrives slowly. When
// there are too many, the one that has been without a request for the longest time
// is aborted. A connection whose request is there when it is accepted is never
// one of them, so clients that all reconnect at once do not push each other out.
type Idle struct {
	// Max returns how many there may be. It must not block.
	Max func() int
	// Evicted is called for each connection that is aborted.
	Evicted func()

	// Under the mutex of the listener's poller.
	n    int
	root Conn // of the ring: root.next is the oldest
}

// add appends c, unless it is there already: the time since its last answer
// counts, and not that of its last byte. The oldest go if there are too many. A
// nil list takes none.
func (l *Idle) add(c *Conn) {
	if l == nil || c.next != nil || c.owner != nil {
		return
	}
	if l.root.next == nil {
		l.root.next, l.root.prev = &l.root, &l.root
	}
	last := l.root.prev
	last.next, c.prev, c.next, l.root.prev = c, last, &l.root, c
	l.n++
	for most := max(l.Max(), 1); l.n > most; {
		oldest := l.root.next
		l.remove(oldest)
		oldest.aborted.Store(true)
		oldest.wakeLocked()
		if oldest.net != nil {
			_ = oldest.net.SetDeadline(time.Unix(1, 0))
		}
		l.Evicted()
	}
}

// remove takes c out, if it is there.
func (l *Idle) remove(c *Conn) {
	if l == nil || c.next == nil {
		return
	}
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
	l.n--
}

// Len returns how many there are.
func (l *Idle) Len(p *Poller) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.n
}
