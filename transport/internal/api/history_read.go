package api

import (
	"context"
	"slices"
	"time"

	"fanfare/engine"
)

// history is a list of past events in the making. It is read in two ways. With paging it lists the oldest events after a place;
// the last one listed is the next place, and so pages have each event once and in order, whatever ids the events have. Otherwise it
// lists the newest events.
//
// In a fleet a place has a position for each partition that has events of the list, as the id of a stream has: that of the key, and
// partition 0 for the events to all keys.
type history struct {
	api   *API
	key   string
	limit int

	paging  bool
	gap     string
	sources []*source // of the key, and in a fleet of all keys
}

// source is the events of the key, or, in a fleet, of those to all keys.
type source struct {
	all       bool
	partition int
	end       engine.Position // how far it was known before its events were read

	// after is the place after which the events are listed, or since, if that is not zero, their time. Without either (left), the
	// events of the source were not asked for. Only with paging.
	after engine.Position
	since time.Time
	left  bool

	events  []past          // ascending
	cut     bool            // there are others: later ones with paging, otherwise earlier ones
	oldest  engine.Position // that the ring holds of those that are wanted
	reached bool            // the ring has everything that is wanted, or as many as an answer takes

	at engine.Position // after what was listed: moved by pass
}

// begin finds the place of the list.
func (h *history) begin(after string, earliest bool) {
	ctx, cancel := context.WithTimeout(context.Background(), historyTimeout)
	defer cancel()
	h.sources = []*source{{partition: h.api.eng.PartitionOf(h.key)}}
	if h.api.backplane != nil {
		// Wait for what any server has confirmed before the request. If the log does not say how far it is, the list has what
		// this server knows, and the next page the rest.
		_ = h.api.backplane.CatchUpWith(ctx, h.key)
		after = h.api.backplane.Meet(ctx, []string{h.key}, after)
		h.sources = append(h.sources, &source{all: true})
	}
	for _, s := range h.sources {
		s.end = h.endOf(s)
	}
	switch {
	case earliest:
		h.paging = true
		for _, s := range h.sources {
			s.after = engine.Position{Epoch: s.end.Epoch}
			if h.api.backplane != nil {
				s.after.Seq = h.api.backplane.Removed(ctx, s.partition)
			}
		}
	case after != "":
		place := h.api.eng.Locate(h.key, after)
		if place.Gap != 0 {
			h.gap = place.Gap.String()
		}
		if place.Gap == engine.GapEpoch || place.Gap == engine.GapUnknown {
			return // the newest events, as without a place
		}
		h.paging = true
		for _, s := range h.sources {
			s.after = place.Key
			if s.all {
				s.after = place.All
			}
			if s.after.Epoch == 0 {
				s.since, s.left = place.Since, place.Since.IsZero()
			}
		}
	}
}

func (h *history) endOf(s *source) engine.Position {
	if s.all {
		return h.api.eng.Applied(0)
	}
	return h.api.eng.End(h.key)
}

// read collects what the rings hold, and the rest from the log.
func (h *history) read() {
	h.readRings()
	if h.api.backplane == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), historyTimeout)
	defer cancel()
	for _, s := range h.sources {
		if !s.left && !s.reached {
			h.readLog(ctx, s)
		}
	}
}

// readRings collects what the rings hold, the newest first, and then puts it in ascending order.
func (h *history) readRings() {
	most := 2 * (h.limit + 1)
	wanted := func(s *source) bool { return !s.left && !s.reached }
	h.api.eng.Kept(h.key, func(p engine.Past) bool {
		s := h.sources[0]
		if p.All {
			s = h.sources[1]
		}
		if !wanted(s) {
			return true
		}
		if h.paging && s.passed(p) {
			s.reached = true
			return slices.ContainsFunc(h.sources, wanted)
		}
		s.oldest = p.Position
		s.events = append(s.events, past{p.Event, p.Position, p.All})
		switch n := len(s.events); {
		case !h.paging && n > h.limit:
			s.reached, s.cut = true, true
			return slices.ContainsFunc(h.sources, wanted)
		case h.paging && n > 2*most: // the oldest ones count
			s.events, s.cut = append(s.events[:0], s.events[n-most:]...), true
		}
		return true
	})
	for _, s := range h.sources {
		slices.Reverse(s.events)
	}
}

// passed reports whether an event is not after the place of its source.
func (s *source) passed(p engine.Past) bool {
	if !s.since.IsZero() {
		return p.At() < s.since.UnixNano()
	}
	return p.Epoch != s.after.Epoch || p.Position.Seq <= s.after.Seq // another epoch is an earlier one
}

// readLog fetches what the ring of a source does not hold.
func (h *history) readLog(ctx context.Context, s *source) {
	m := engine.Missing{Partition: s.partition, All: s.all, Epoch: s.end.Epoch, Through: s.end.Seq}
	if !s.all {
		m.Key = h.key
	}
	switch {
	case s.oldest.Epoch == s.end.Epoch && s.end.Epoch != 0:
		m.Through = s.oldest.Seq - 1
	case s.oldest.Epoch != 0:
		return // the ring reaches back to before the epoch began
	}
	switch {
	case !h.paging:
		m.Newest = h.limit + 1 - len(s.events)
	case !s.since.IsZero():
		m.Since = s.since
	default:
		m.After = s.after.Seq
		h.readPage(ctx, s, m)
		return
	}
	if m.Through == 0 {
		return
	}
	events, err := h.api.backplane.Older(ctx, m)
	switch {
	case !h.paging && len(events) > 0 && (err != nil || len(events) >= m.Newest):
		s.cut = true // with an error those are the newest: the others are over the bounds of one fetch
	case err != nil:
		h.gap = engine.GapHistory.String()
	}
	s.events = append(h.withPositions(s, events), s.events...)
}

// readPage fetches as many of the oldest events of a range as an answer can have. Each fetch returns some of them. If there are
// more in the range, those of the ring are left out: they come later.
func (h *history) readPage(ctx context.Context, s *source, m engine.Missing) {
	var found []past
	m.Oldest = h.limit + 1
	for room := h.api.config.Load().MaxBodyBytes; m.After < m.Through; {
		events, err := h.api.backplane.Older(ctx, m)
		if err != nil {
			h.gap = engine.GapHistory.String()
		}
		if len(events) == 0 {
			break
		}
		found = append(found, h.withPositions(s, events)...)
		for _, ev := range events {
			room -= len(ev.Bytes())
		}
		m.Oldest -= len(events)
		m.After = found[len(found)-1].Position.Seq
		if m.Oldest <= 0 || room < 0 {
			if m.After < m.Through {
				s.events, s.cut = found, true
				return
			}
			break
		}
	}
	s.events = append(found, s.events...)
}

func (h *history) withPositions(s *source, events []*engine.Event) []past {
	list := make([]past, len(events))
	for i, ev := range events {
		list[i] = past{ev, h.api.eng.PositionInLog(s.partition, ev), s.all}
	}
	return list
}

// merge puts the events of the sources into one order. Two sources of one partition have the order of the log. Only two of
// different partitions are ordered by time: the clock of the log's server may repeat a time or go back. more says that a source has
// others: the list ends, or begins without paging, where these would follow.
func (h *history) merge() (list []past, more bool) {
	var rest [2][]past
	for i, s := range h.sources {
		rest[i], more = s.events, more || s.cut
		s.at = s.beginning(h.paging)
	}
	samePartition := h.sources[0].partition == 0
	first, end := 0, -1 // of the list that has no holes
	for len(rest[0])+len(rest[1]) > 0 {
		i := 0
		if len(rest[0]) == 0 || len(rest[1]) > 0 && engine.Newer(rest[0][0].Event, rest[1][0].Event, samePartition) {
			i = 1
		}
		s := h.sources[i]
		if s.cut && !h.paging && len(rest[i]) == len(s.events) {
			first = len(list)
		}
		list, rest[i] = append(list, rest[i][0]), rest[i][1:]
		if s.cut && h.paging && len(rest[i]) == 0 && end < 0 {
			end = len(list)
		}
	}
	if end < 0 {
		end = len(list)
	}
	for _, p := range list[:first] {
		h.pass(p)
	}
	return list[first:end], more
}

// beginning is the place before the first event of a source that can be listed.
func (s *source) beginning(paging bool) engine.Position {
	switch {
	case paging && s.after.Epoch != 0:
		return s.after
	case len(s.events) > 0:
		return engine.Position{Epoch: s.events[0].Epoch, Seq: s.events[0].Position.Seq - 1}
	}
	return s.end
}

// pass moves the place after an event. In partition 0 both sources have the same place.
func (h *history) pass(p past) {
	for _, s := range h.sources {
		if s.all == p.all || h.sources[0].partition == 0 {
			s.at = p.Position
		}
	}
}

// passAll moves the place to the end that was known before the events were read: so that a place in a quiet key does not get old.
func (h *history) passAll() {
	for _, s := range h.sources {
		if s.at.Epoch != s.end.Epoch || s.at.Seq < s.end.Seq {
			s.at = s.end
		}
	}
}

// place is the text of the place, in the form of a stream's id: see engine.Subscriber.Positions. It is empty if it is not known.
func (h *history) place() string {
	key := h.sources[0]
	if key.at.Epoch == 0 {
		return ""
	}
	if key.partition == 0 {
		return key.at.String()
	}
	all := h.sources[1].at
	if all.Epoch == 0 {
		return ""
	}
	return all.String() + "," + key.at.String()
}
