package engine

// Gap describes the events that a subscriber does not get.
type Gap struct {
	Key    string
	Reason GapReason
	// Missed is the number of events, or -1 if it is unknown.
	Missed int64
	// After is the last id that the subscriber had: its position for GapLag and GapHistory, otherwise the text that the
	// client gave.
	After string
	// Next is the position before the next event that the subscriber gets.
	Next Position
	// Policy is the key's policy, for GapLag.
	Policy Policy
}

// GapReason says why there is a gap.
type GapReason uint8

const (
	// GapHistory: the position that the client gave is older than the history that is kept.
	GapHistory GapReason = iota + 1
	// GapEpoch: the id belongs to another life of the key.
	GapEpoch
	// GapUnknown: the id that the client gave is unknown.
	GapUnknown
	// GapLag: a connected subscriber was too slow, and the ring lapped it.
	GapLag
)

// GapReasons returns all reasons, for metrics.
func GapReasons() []GapReason { return []GapReason{GapHistory, GapEpoch, GapUnknown, GapLag} }

// String returns the name of the reason that gap events and metrics use.
func (r GapReason) String() string {
	return nameOf(r, "", "history", "epoch", "unknown", "lag")
}

// noteGap makes the cursor report the gap before what it reads next.
func (c *cursor) noteGap(g Gap) {
	g.Key, g.Next = c.key.name, Position{c.key.epoch, c.next - 1}
	c.gap = &g
}
