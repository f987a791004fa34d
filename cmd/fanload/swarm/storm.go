//go:build linux

package swarm

// storm disconnects a fraction of the subscribers, evenly spread. Each reconnects after a random time within jitter.
func (l *loop) storm(fraction float64, jitter int64) {
	l.nowAgain()
	due := 0.0
	for i := range l.subs {
		s := &l.subs[i]
		if s.state != streaming || s.stalled {
			continue
		}
		if due += fraction; due < 1 {
			continue
		}
		due--
		l.disconnect(s)
		s.left = l.now
		l.remember(s)
		var after int64
		if jitter > 0 {
			after = l.random.Int64N(jitter)
		}
		l.wait(s, after)
	}
}

// disconnect ends a stream from this side.
func (l *loop) disconnect(s *subscriber) {
	l.counts.Open--
	l.live[s.key]--
	l.shut(s)
}
