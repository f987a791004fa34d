package engine

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// A composite id is the id of a subscriber of several keys. Positions writes it, and Subscribe reads it. It has these
// parts, joined by commas:
//
//	<position>         of the key with its epoch
//	<own id>~<tag>     of the key that keyTag names, see KeyOptions.StableIDs
//	0-0                of a key for which the client had no position of an engine, or has to be told of a gap that
//	                   begins before the first event
//	<position>~*       the number of the last broadcast that the client has (I11), with an epoch of the same engine
//
// A part identifies its key. So every key finds its part, even if the keys are in another order or others have been
// added or left out.

const (
	broadcastTag = "*" // never equal to a keyTag
	zeroPosition = "0-0"
)

// keyTag returns a short text that identifies a key in a part without an epoch of the key.
func keyTag(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

// part is one part of an id.
type part struct {
	text  string // without the tag
	tag   string
	pos   Position
	valid bool // text is a position
}

func parsePart(text string) (p part) {
	p.text, p.tag, _ = strings.Cut(text, "~")
	if p.pos, p.valid = ParsePosition(p.text); !p.valid {
		return part{text: text}
	}
	return p
}

// matches reports whether the part is the position of k.
func (p part) matches(k *key) bool {
	if p.tag != "" {
		return p.tag == keyTag(k.name)
	}
	return p.valid && p.pos.Epoch == k.epoch
}

// engineMade reports whether the form of the part shows that an engine wrote it, and not a publisher.
func (p part) engineMade() bool {
	return p.valid && (p.tag != "" || p.text == zeroPosition || p.pos.Epoch>>epochBits == 1)
}

// splitParts splits an id for n keys into its parts. It returns nil for a publisher's own id, which is neither a
// composite id nor a single position of an engine: the caller searches for that id as it is.
func splitParts(id string, n int) (parts []part) {
	engineMade, valid := false, true
	for text := range strings.SplitSeq(id, ",") {
		p := parsePart(text)
		engineMade, valid = engineMade || p.engineMade(), valid && p.valid
		parts = append(parts, p)
	}
	if !engineMade && (!valid || n == 1 || len(parts) != n) {
		return nil
	}
	return parts
}

// IssuedID reports whether the id consists only of positions of this engine. To resume n keys by it takes the same time
// however many events they keep. Any other id may be a publisher's own, which has to be searched for.
func (e *Engine) IssuedID(id string, n int) bool {
	if e.log != nil {
		_, own := e.log.parseID(id)
		return !own
	}
	parts := 0
	for text := range strings.SplitSeq(id, ",") {
		p := parsePart(text)
		if !p.valid || p.tag != "" && p.tag != broadcastTag || p.text != zeroPosition && !e.issued(p.pos.Epoch) {
			return false
		}
		parts++
	}
	return n == 1 || parts > 1 // the id of one key does not have the last broadcast, which has to be searched for
}

// holdsOwnPosition reports whether a publisher's own id is, or contains, a position that this engine may have issued. A
// client that came back with such an id would resume at that position, and lose the events between its last event and
// there. Such ids come from publishers that forward the events of a stream with their ids. A position of another engine
// is an id like any other: a bridge may keep it.
func (e *Engine) holdsOwnPosition(id string) bool {
	for text := range strings.SplitSeq(id, ",") {
		if p := parsePart(text); p.valid && e.issued(p.pos.Epoch) {
			return true
		}
	}
	return false
}

// Positions appends the id with which a client resumes after everything that Next has returned. For one key this is the
// position. For several keys it is the composite id: their positions and, if the subscriber has had a broadcast, the
// number of the last one. Owner only.
func (s *Subscriber) Positions(dst []byte) []byte {
	if s.log != nil {
		return s.log.appendPositions(dst)
	}
	if len(s.cursors) == 1 {
		return s.cursors[0].appendPosition(dst, false)
	}
	for i := range s.cursors {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.cursors[i].appendPosition(dst, true)
	}
	if s.lastBroadcast != 0 {
		dst = append(dst, ',')
		dst = Position{s.cursors[0].key.epoch, uint64(s.lastBroadcast)}.Append(dst)
		dst = append(dst, "~"+broadcastTag...)
	}
	return dst
}

// appendPosition appends the position from which a client resumes that has received everything that Next returned. As
// long as Next has not returned a pending gap, this is the place before the gap: the client may disconnect before it
// hears of the gap, and then has to resume there. If the id that the client gave is not a position, the zero position
// is used, which has no epoch.
func (c *cursor) appendPosition(dst []byte, composite bool) []byte {
	p := Position{c.key.epoch, c.at() - 1}
	id := c.stableID()
	if c.gap != nil {
		p, _ = ParsePosition(c.gap.After)
		switch made := parsePart(c.gap.After).engineMade(); {
		case made && composite && p.Seq == 0:
			p = Position{} // see I12
		case !made && p != (Position{}):
			id = []byte(c.gap.After)
		}
	}
	if id == nil {
		return p.Append(dst)
	}
	dst = append(dst, id...)
	if composite {
		dst = append(dst, '~')
		dst = append(dst, keyTag(c.key.name)...)
	}
	return dst
}

// stableID returns the id of the event before the cursor if that id identifies the place better than the engine's own
// position, see KeyOptions.StableIDs. Otherwise it returns nil.
func (c *cursor) stableID() []byte {
	if c.gap != nil || c.next == 1 || !c.key.opts.Load().StableIDs {
		return nil
	}
	ev, _ := c.key.read(c.at() - 1)
	if ev == nil || ev.idAt < 0 {
		return nil
	}
	id := ev.IDBytes()
	if p := parsePart(string(id)); !p.valid || p.engineMade() {
		return nil // among the parts of other keys it could not be recognized
	}
	return id
}
