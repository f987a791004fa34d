//go:build linux

package swarm

// await waits until all subscribers of a key have an event.
type await struct {
	seq  int64 // 0: none
	left int32 // subscribers that do not have it yet
	done func()
}

// startAwait begins to wait until all subscribers of the key have an event that will be published. It replaces an earlier await
// of the key.
func (l *loop) startAwait(key int, seq int64, done func()) {
	left := l.live[key]
	for i := range l.subs {
		if l.counts.Stalled == 0 {
			break
		}
		if s := &l.subs[i]; s.stalled && s.key == key && s.state == streaming {
			left--
		}
	}
	if l.awaits == nil {
		l.awaits = make([]await, l.plan.Keys)
	}
	a := &l.awaits[key]
	if a.seq > 0 {
		*a = await{}
		l.awaiting--
	}
	if left <= 0 {
		done()
		return
	}
	*a = await{seq: seq, left: left, done: done}
	l.awaiting++
}

// awaited counts a subscriber of the key that has the event, or will never get it.
func (l *loop) awaited(key int) {
	a := &l.awaits[key]
	if a.left--; a.left > 0 {
		return
	}
	a.done()
	*a = await{}
	l.awaiting--
}

// behind counts the subscribers that still miss events.
func (l *loop) behind(last []int64) (n int64) {
	for i := range l.subs {
		s := &l.subs[i]
		switch {
		case s.stalled:
		case s.state == waiting || s.opening():
			n++
		case s.state == streaming && s.check.Begun() && s.check.High() < last[s.key]:
			n++
		}
	}
	return n
}
