//go:build linux

package swarm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
)

// unansweredAfter is how long, in microseconds, an attempt must have taken at the end of the run to count as failed.
const unansweredAfter = 1_000_000

var errTimeout = errors.New("timeout")

// reason returns why an attempt failed: from its error, or, in the state refused, from the response.
func reason(s *subscriber, err error) string {
	var number syscall.Errno
	switch {
	case s.state == refused && s.head.Status >= 300 && s.head.Status < 400:
		return plan.ReasonRedirect
	case s.state == refused && s.head.Status != 200:
		return plan.ReasonStatus
	case s.state == refused && s.head.Encoding != "":
		return plan.ReasonEncoding
	case s.state == refused:
		return plan.ReasonType
	case errors.Is(err, errTimeout):
		return plan.ReasonTimeout
	case errors.Is(err, errEnded):
		return plan.ReasonReset
	case errors.As(err, &number):
		switch number {
		case unix.ECONNREFUSED:
			return plan.ReasonRefused
		case unix.ETIMEDOUT:
			return plan.ReasonTimeout
		case unix.ECONNRESET, unix.EPIPE:
			return plan.ReasonReset
		}
	case s.state == securing:
		return plan.ReasonTLS
	}
	return plan.ReasonError
}

// failedAttempt counts an attempt that did not open a stream. Its time goes into the same histograms as that of successful
// attempts. Without it, they would describe the survivors only.
func (l *loop) failedAttempt(s *subscriber, why string) {
	l.result.Failures[why]++
	if s.head.Status < 200 {
		l.result.Head.Record(l.now - s.began)
	}
	if s.state == connecting {
		l.result.Connect.Record(l.now - s.began)
	}
}

// unopened counts, at the end, the subscribers that wait for a head or for their turn.
func (l *loop) unopened() {
	for i := range l.subs {
		switch s := &l.subs[i]; {
		case s.opening() && l.now-s.began >= unansweredAfter:
			l.failedAttempt(s, plan.ReasonUnanswered)
			measure.Tally(l.result.Errors, "connect: no answer before the end of the run")
		case s.state == idle && l.counts.Opening+l.counts.Connected+l.counts.Failed > 0:
			l.result.Failures[plan.ReasonUntried]++
			measure.Tally(l.result.Errors, "connect: the run was over before it was this subscriber's turn")
		}
	}
}

// answer describes a response that is not a stream.
func answer(s *subscriber) string {
	text := fmt.Sprintf("%d", s.head.Status)
	switch {
	case s.head.Status == 200 && s.head.Encoding != "":
		return text + fmt.Sprintf(" with content encoding %q, which was not asked for", s.head.Encoding)
	case s.head.Status == 200:
		text += fmt.Sprintf(" with content type %q", s.head.ContentType)
	}
	if s.head.Location != "" {
		text += " to " + s.head.Location
		if s.head.Status >= 300 && s.head.Status < 400 {
			text += " (redirects are not followed)"
		}
	}
	if s.head.RetryAfter != "" {
		text += " Retry-After " + s.head.RetryAfter
	}
	if len(s.sample) > 0 {
		text += ": " + strings.TrimSpace(strings.ToValidUTF8(string(s.sample), "\uFFFD"))
	}
	return text
}

// kind maps an error to one of a small number of texts.
func kind(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		op, _, _ := strings.Cut(err.Error(), ":")
		return op + ": " + number.Error()
	}
	return err.Error()
}
