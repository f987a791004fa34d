package api

import (
	"context"
	"errors"

	"fanfare/cluster"
)

// With a backplane a batch is published in runs: one append to the log for many lines, so that they wait for the log
// together. A command that publishes nothing ends a run and acts after it, so the order of the lines is kept: a close
// comes after what was published before it.

const (
	// runLines and runBytes bound a run. The log appends a run about as fast as one event.
	runLines = 512
	runBytes = 1 << 20
)

// runLine is a line of a run.
type runLine struct {
	number     int
	message    int // its index among the messages, or -1
	repeatable bool
	err        error // why it has no message
}

// errHalted says that a line was not published because of an earlier one.
var errHalted = errors.New("an earlier line of this batch is not stored, or not confirmed, and this one was not published, so that the order is kept: repeat the batch from that line on")

// nextRun publishes the next run of lines and appends their answers to out. It returns false at the end.
func (b *batch) nextRun() bool {
	// Read the lines.
	var lines []runLine
	var messages []Message
	var last *command // the command that ends the run
	for size := 0; last == nil && len(lines) < runLines && size < runBytes; {
		text, ok := b.nextLine()
		if !ok {
			break
		}
		line := runLine{number: b.line, message: -1}
		c, ev, err := b.api.parse(text, b.who)
		switch {
		case err != nil:
			line.err = err
		case !c.publishes():
			last = &c
		case b.halted:
			line.err = errHalted
		default:
			line.repeatable = c.repeated
			var own []byte // the frames of a run live until it is published
			m, err := b.api.messageOf(&own, &c, ev, b.who)
			if line.err = err; err == nil {
				line.message = len(messages)
				messages = append(messages, m)
				size += len(m.Frame.Bytes)
			}
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return false
	}

	// Publish the messages.
	receipts := make([]Receipt, len(messages))
	if len(messages) > 0 {
		b.api.append(context.Background(), messages, receipts)
	}

	// Answer.
	for i, line := range lines {
		switch {
		case last != nil && i == len(lines)-1:
			b.answer(line.number, b.api.act(last), false, nil)
		case line.message < 0:
			b.answer(line.number, nil, false, line.err)
		default:
			r := &receipts[line.message]
			if b.halted && errors.Is(r.Err, cluster.ErrAway) { // the broker was away for the whole run: one line says so
				b.answer(line.number, nil, line.repeatable, errHalted)
				continue
			}
			if errors.Is(r.Err, cluster.ErrUnknown) || errors.Is(r.Err, cluster.ErrAway) {
				b.halted = true
			}
			b.answer(line.number, answerOf(&messages[line.message], r), line.repeatable, r.Err)
		}
	}
	return true
}
