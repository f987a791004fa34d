package engine

import (
	"errors"
	"time"
)

// ErrFrame is returned for a frame that is empty, or whose id is not within it.
var ErrFrame = errors.New("engine: the frame is empty, or its id is outside the frame or longer than 65535 bytes")

// ErrPosition is returned for a frame whose own id is, or contains, a Position that this engine has issued, see
// Engine.holdsOwnPosition.
var ErrPosition = errors.New("engine: the id is a position that this engine has issued: leave the id out, or choose another")

func (f Frame) valid() bool {
	return len(f.Bytes) > 0 &&
		(f.IDAt < 0 || f.IDLen >= 0 && f.IDLen <= maxID && f.IDAt <= len(f.Bytes) && f.IDLen <= len(f.Bytes)-f.IDAt)
}

// Check returns the error with which Publish would refuse the frame, or nil. It does not check the limits of keys.
func (e *Engine) Check(f Frame) error {
	switch {
	case !f.valid():
		return ErrFrame
	case e.closed.Load():
		return ErrClosed
	case f.IDAt >= 0 && f.IDLen > minPositionLen && e.holdsOwnPosition(string(f.Bytes[f.IDAt:f.IDAt+f.IDLen])):
		return ErrPosition
	}
	return nil
}

// Published says where an event was published.
type Published struct {
	// Position is the position of the event.
	Position
	// Subscribers is how many subscribers the key had when the event was published.
	Subscribers int
}

// Publish sends the event to the key's subscribers and keeps it in the key's history. It creates the key if necessary.
// It does not wait for subscribers, takes no lock, and makes one allocation for frames up to 4000 bytes. Errors:
// ErrFrame, ErrPosition, ErrClosed, ErrLog, *LimitError for maxKeys.
func (e *Engine) Publish(name string, f Frame) (Published, error) {
	if e.log != nil {
		return Published{}, ErrLog
	}
	if err := e.Check(f); err != nil {
		return Published{}, err
	}
	d := newDraft(f, time.Now().UnixNano(), 0)
	for {
		k, err := e.lookup(name, forPublisher)
		if err != nil {
			return Published{}, err
		}
		if k.publish(e, &d) {
			k.wake()
			return Published{Position{k.epoch, d.ev.seq}, int(k.subscribers.Load())}, nil
		}
		e.remove(k) // it was retired
	}
}

// PublishAll publishes the event to every existing key, and returns the number of keys and the number of their
// subscribers. A subscriber of several keys gets the event once.
//
// Calls are serialized. So every ring holds broadcasts in ascending order (I10), and subscribers can recognize repeated
// ones, see I11. Errors: ErrFrame, ErrPosition, ErrClosed, ErrLog.
func (e *Engine) PublishAll(f Frame) (keys, subscribers int, err error) {
	if e.log != nil {
		return 0, 0, ErrLog
	}
	if err := e.Check(f); err != nil {
		return 0, 0, err
	}
	e.broadcastMu.Lock()
	defer e.broadcastMu.Unlock()

	// Close the positions of keys without events (I12), take the next number, and make the bytes once.
	e.broadcasting.Store(true)
	defer e.broadcasting.Store(false)
	e.broadcastEpoch.Store(e.lastEpoch.Load())
	number := successor(e.lastBroadcast.Load())
	e.lastBroadcast.Store(number)
	now := time.Now().UnixNano()
	first := newDraft(f, now, number)

	// Publish a copy to each key.
	for k := range e.allKeys() {
		var d draft
		if first.needsID() {
			d = newDraft(f, now, number)
		} else { // the events of all keys share the memory of the frame
			d = draft{frame: first.frame, ev: &Event{
				at: now, broadcast: number, idAt: first.ev.idAt, idLen: first.ev.idLen, bytes: first.ev.bytes,
				class: first.ev.class,
			}}
		}
		if k.publish(e, &d) {
			k.wake()
			keys++
			subscribers += int(k.subscribers.Load())
		}
	}
	return keys, subscribers, nil
}
