package engine

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// A composite id is what Positions gives for several keys: parts joined by commas,
//
//	<position>         of the key that has its epoch
//	<own id>~<tag>     of the key that keyTag names, see KeyOptions.StableIDs
//	0-0                of a key for which the client had no position of ours
//	<position>~*       the last broadcast that the client has, see I11, behind an
//	                   epoch of the same engine
//
// A part says which key it belongs to, so that keys which come in another order,
// or in another set, find their own.

const (
	broadcastTag = "*" // no keyTag is like it
	zeroPosition = "0-0"
)

// keyTag stands for a key in a part that has no epoch of the key.
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

// fits reports whether the part is the position of k.
func (p part) fits(k *key) bool {
	if p.tag != "" {
		return p.tag == keyTag(k.name)
	}
	return p.valid && p.pos.Epoch == k.epoch
}

// marked reports whether the part can be told from a publisher's own id.
func (p part) marked() bool {
	return p.valid && (p.tag != "" || p.text == zeroPosition || p.pos.Epoch>>epochBits == 1)
}

// splitParts splits an id for n keys. nil means that it is no composite id, nor a
// single position of an engine, but a publisher's own: looked for as it is.
func splitParts(id string, n int) (parts []part) {
	marked, valid := false, true
	for text := range strings.SplitSeq(id, ",") {
		p := parsePart(text)
		marked, valid = marked || p.marked(), valid && p.valid
		parts = append(parts, p)
	}
	if !marked && (!valid || n == 1 || len(parts) != n) {
		return nil
	}
	return parts
}

// minOwnPosition is the length of an epoch and its hyphen, see epochBits: no
// position of an engine is as short.
const minOwnPosition = 13

// mistakable reports whether a publisher's own id is, or holds, a position that
// this engine may have given. A client that comes back with it would resume where
// the position says, and what is between the event and there would be lost. Such
// ids come from publishers that pass on the events of a stream with their ids.
// The positions of other engines are ids like any others: a bridge may keep them.
func (e *Engine) mistakable(id string) bool {
	for text := range strings.SplitSeq(id, ",") {
		if p := parsePart(text); p.valid && e.gave(p.pos.Epoch) {
			return true
		}
	}
	return false
}

// resumeAll sets the cursors, which have joined their keys, behind the id that
// the client came with. since is the last broadcast that began before.
func (s *Subscriber) resumeAll(e *Engine, id string, since uint32) Resumed {
	if id == "" {
		if len(s.cursors) > 1 {
			s.last = since
		}
		for i := range s.cursors {
			s.cursors[i].begin(true)
		}
		return ResumedNone
	}
	parts := splitParts(id, len(s.cursors))
	for _, p := range parts {
		if p.tag == broadcastTag && e.gave(p.pos.Epoch) && p.pos.Seq <= uint64(^uint32(0)) && !after(uint32(p.pos.Seq), e.all.Load()) {
			s.last = uint32(p.pos.Seq)
		}
	}
	known := false // a part fits, or the id is a publisher's own
	for i := range s.cursors {
		known = known || fitting(parts, s.cursors[i].key) >= 0
	}
	result := ResumedExact
	for i := range s.cursors {
		c := &s.cursors[i]
		j := fitting(parts, c.key)
		var exact bool
		switch {
		case j >= 0:
			exact = c.resume(parts[j].text)
		case parts == nil || !known && c.hasOwn(id):
			exact = c.resume(id)
		default:
			exact = s.resumeElsewhere(parts, i)
		}
		if !exact {
			result = ResumedGap
		} else if len(parts) <= 1 && len(s.cursors) > 1 && since != 0 && (j >= 0 || parts == nil) {
			// An id of a stream of one key, or a publisher's own, does not tell the
			// last broadcast: it is the last one before the place that the id names.
			if n := c.lastBroadcast(); after(n, s.last) {
				s.last = n
			}
		}
	}
	return result
}

// fitting returns the index of the part that is the position of k, or -1.
func fitting(parts []part, k *key) int {
	return slices.IndexFunc(parts, func(p part) bool { return p.fits(k) })
}

// resumeElsewhere sets cursor i, for which a composite id has no part. It begins
// as for a new subscriber if every part has found its key: the client had not
// subscribed to this one. A part that is left over may be this key's, from another
// life of it: then the client gets a gap, and all that is kept.
func (s *Subscriber) resumeElsewhere(parts []part, i int) (exact bool) {
	c := &s.cursors[i]
	if i < len(parts) && parts[i].valid && !parts[i].marked() {
		return c.resume(parts[i].text) // an own id in the place of this key
	}
	left := part{}
	for j, p := range parts {
		if s.isLeft(p) && (left.text == "" || j == i) {
			left = p
		}
	}
	if left.text == "" {
		c.begin(false)
		return true
	}
	c.next = c.key.firstKept()
	reason := GapUnknown
	if left.valid {
		reason = GapEpoch
	}
	c.noteGap(Gap{Reason: reason, Missed: -1, After: left.text})
	return false
}

// isLeft reports whether the part fits none of the keys.
func (s *Subscriber) isLeft(p part) bool {
	for i := range s.cursors {
		if p.fits(s.cursors[i].key) {
			return false
		}
	}
	return p.tag != broadcastTag
}

// Positions appends the position of the key or, with several keys, the composite
// id that resumes each of them: their positions, and the last broadcast that the
// subscriber has had if there was one. Owner only.
func (s *Subscriber) Positions(dst []byte) []byte {
	if len(s.cursors) == 1 {
		return s.cursors[0].appendPosition(dst, false)
	}
	for i := range s.cursors {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.cursors[i].appendPosition(dst, true)
	}
	if s.last != 0 {
		dst = append(dst, ',')
		dst = Position{s.cursors[0].key.epoch, uint64(s.last)}.Append(dst)
		dst = append(dst, "~"+broadcastTag...)
	}
	return dst
}

// appendPosition appends where a client resumes that has had all that Next
// returned. While Next has yet to return a gap, it is the place before it: the
// client may be gone before it hears of the gap, and then has to come back to it.
// Where the client's id is no position, the zero one serves, of no epoch.
func (c *cursor) appendPosition(dst []byte, composite bool) []byte {
	p := Position{c.key.epoch, c.at() - 1}
	id := c.stableID()
	if c.gap != nil {
		p, _ = ParsePosition(c.gap.After)
		if p != (Position{}) && !parsePart(c.gap.After).marked() {
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

// stableID returns the id of the event before the cursor if it tells the position
// better than our own, see KeyOptions.StableIDs, and nil otherwise.
func (c *cursor) stableID() []byte {
	if c.gap != nil || c.next == 1 || !c.key.opts.Load().StableIDs {
		return nil
	}
	ev, _ := c.key.read(c.at() - 1)
	if ev == nil || ev.idAt < 0 {
		return nil
	}
	id := ev.bytes[ev.idAt : int(ev.idAt)+int(ev.idLen)]
	if p := parsePart(string(id)); !p.valid || p.marked() {
		return nil // would not be told apart among those of other keys
	}
	return id
}
