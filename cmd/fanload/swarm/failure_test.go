//go:build linux

package swarm

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"fanfare/cmd/fanload/sequence"
)

func TestReasons(t *testing.T) {
	for want, c := range map[string]struct {
		err    error
		answer string
		state  state
	}{
		"refused":  {err: fmt.Errorf("connect: %w", syscall.ECONNREFUSED), state: connecting},
		"timeout":  {err: fmt.Errorf("%w: no answer", errTimeout), state: heading},
		"reset":    {err: fmt.Errorf("read: %w", syscall.ECONNRESET), state: heading},
		"tls":      {err: errors.New("certificate"), state: securing},
		"error":    {err: fmt.Errorf("socket: %w", syscall.EMFILE), state: connecting},
		"redirect": {answer: "301 Moved\r\nLocation: /there"},
		"status":   {answer: "503 No"},
		"type":     {answer: "200 OK\r\nContent-Type: text/html"},
		"encoding": {answer: "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip"},
	} {
		l, s := still(t)
		if c.answer != "" {
			c.err, c.state = errEnded, heading
			if err := l.consume(s, []byte("HTTP/1.1 "+c.answer+"\r\nContent-Length: 0\r\n\r\n")); !errors.Is(err, errEnded) {
				t.Fatal(err)
			}
			c.state = s.state
		}
		s.state = c.state
		l.lose(s, c.err)
		if l.result.Failures[want] != 1 || len(l.result.Failures) != 1 || l.result.Head.Count() != 1 {
			t.Errorf("%s: %v, and %d times to the head or the failure", want, l.result.Failures, l.result.Head.Count())
		}
	}
	l, s := still(t)
	identity := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: identity\r\n\r\n"
	if err := l.consume(s, []byte(identity)); err != nil || s.state != streaming {
		t.Errorf("the coding identity is none: %v", err)
	}
}

// TestUnopenedAtTheEnd: whoever has waited for a second, or was not tried at all, is not left out; whoever has just begun is.
func TestUnopenedAtTheEnd(t *testing.T) {
	for micros, want := range map[int64]int64{500_000: 0, 2_000_000: 1} {
		l, s := still(t)
		s.began = l.nowAgain() - micros
		l.finish(&sequence.Published{Last: []int64{0}})
		if n := l.result.Failures["unanswered"]; n != want {
			t.Errorf("without an answer for %d us: %d", micros, n)
		}
	}
	l, s := still(t)
	s.state = idle
	l.finish(&sequence.Published{Last: []int64{0}})
	if l.result.Failures["untried"] != 1 {
		t.Errorf("%v", l.result.Failures)
	}
}
