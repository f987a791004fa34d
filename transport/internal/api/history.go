package api

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/codec"
	"fanfare/engine"
)

const (
	defaultHistory = 100
	maxHistory     = 1000 // events of one answer
	// historyTimeout bounds the wait for the log.
	historyTimeout = 10 * time.Second
)

type (
	historyAnswer struct {
		Key    string      `json:"key"`
		Events []pastEvent `json:"events"` // the oldest first
		// More says that there are more events: later ones with after, otherwise earlier ones.
		More bool `json:"more"`
		// Gap is a reason of gap events: some of the events that were asked for cannot be had.
		Gap string `json:"gap,omitempty"`
	}
	pastEvent struct {
		ID    string `json:"id"`
		Time  string `json:"time"`  // RFC 3339, in UTC
		Event string `json:"event"` // "message" if it has no name
		Data  string `json:"data"`
		All   bool   `json:"all,omitempty"` // to all keys; said only with a backplane
	}
)

// serveHistory lists past events of a key: the newest, or those after an id.
func (a *API) serveHistory(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	key, ok := a.keyOf(ctx, who, auth.RightRead)
	if !ok {
		return
	}
	limit, ok := queryNumber(ctx, "limit", defaultHistory, maxHistory)
	if !ok {
		return
	}
	h := history{api: a, key: key, after: string(ctx.QueryArgs().Peek("after")), limit: limit}
	h.read()
	answer(ctx, fasthttp.StatusOK, h.answer())
}

// history is a list of past events in the making.
type history struct {
	api        *API
	key, after string
	limit      int

	places map[uint64]uint64 // of after: the sequence for each epoch; nil without one, or if it is a publisher's own id
	found  []past            // ascending in the end
	gap    string
	more   bool // the log has earlier events than those that were found
}

// past is an event, and whether it is one to all keys.
type past struct {
	*engine.Event
	all bool
}

// source is what is known of the events of the key, or of those to all keys in log mode.
type source struct {
	oldest  engine.Position // that a ring holds
	reached bool            // a ring holds an event that is not after the place
}

// read collects what the rings hold, and the rest from the log.
func (h *history) read() {
	for part := range strings.SplitSeq(h.after, ",") {
		if p, ok := engine.ParsePosition(part); ok {
			if h.places == nil {
				h.places = map[uint64]uint64{}
			}
			h.places[p.Epoch] = p.Seq
		}
	}
	var sources [2]source // of the key, and of all
	if !h.readRings(&sources) {
		// The id is of another life of the key, or nobody's: as for a client that comes back with it.
		h.gap = engine.GapUnknown.String()
		if h.places != nil {
			h.gap = engine.GapEpoch.String()
		}
		h.places, h.found, sources = nil, nil, [2]source{}
		h.after = ""
		h.readRings(&sources)
	}
	if h.api.backplane != nil {
		h.readLog(&sources)
	} else if oldest := sources[0].oldest; h.places != nil && !sources[0].reached && oldest.Seq > h.places[oldest.Epoch]+1 {
		h.gap = engine.GapHistory.String()
	}
	slices.SortStableFunc(h.found, func(a, b past) int { return cmp.Compare(a.At(), b.At()) })
}

// readRings collects what the rings hold, the oldest first. It returns false if after is not a place in them.
func (h *history) readRings(sources *[2]source) bool {
	located := h.after == ""
	h.api.eng.Kept(h.key, func(p engine.Past) bool {
		s := &sources[0]
		if p.All {
			s = &sources[1]
		}
		s.oldest = p.Position
		switch {
		case h.after == "":
			h.found = append(h.found, past{p.Event, p.All})
			return len(h.found) <= h.limit
		case h.places == nil:
			if located = string(p.IDBytes()) == h.after; located {
				return false
			}
		default:
			seq, known := h.places[p.Epoch]
			if !known {
				return true // of another epoch
			}
			located = true
			if p.Position.Seq <= seq {
				s.reached = true
				return h.api.backplane != nil // a ring of the other source may follow
			}
		}
		h.found = append(h.found, past{p.Event, p.All})
		if most := 2 * (h.limit + 1); len(h.found) > 2*most { // of those after an id the oldest count
			h.found = append(h.found[:0], h.found[len(h.found)-most:]...)
		}
		return true
	})
	slices.Reverse(h.found)
	if !located && h.places != nil {
		if epoch := h.epoch(h.key); epoch != 0 {
			_, located = h.places[epoch] // nothing was published since
		}
	}
	return located
}

// epoch is that of the events of a key now, 0 if it is not known.
func (h *history) epoch(key string) uint64 {
	if h.api.backplane == nil {
		return 0
	}
	return h.api.eng.Applied(h.api.eng.PartitionOf(key)).Epoch
}

// readLog fetches what the rings do not hold.
func (h *history) readLog(sources *[2]source) {
	ctx, cancel := context.WithTimeout(context.Background(), historyTimeout)
	defer cancel()
	have := len(h.found)
	if h.after != "" && h.places == nil { // after a publisher's own id, which a ring holds
		return
	}
	for i, s := range sources {
		m := engine.Missing{Partition: h.api.eng.PartitionOf(h.key), Key: h.key}
		if i == 1 {
			m = engine.Missing{All: true}
		}
		applied := h.api.eng.Applied(m.Partition)
		m.Epoch, m.Through = applied.Epoch, applied.Seq
		switch {
		case s.oldest.Epoch == applied.Epoch:
			m.Through = s.oldest.Seq - 1
		case s.oldest.Epoch != 0:
			continue // a ring reaches back to before the epoch began
		}
		if h.places == nil {
			if m.Newest = h.limit + 1 - have; m.Newest <= 0 {
				continue
			}
		} else {
			seq, known := h.places[applied.Epoch]
			if !known || s.reached {
				continue
			}
			m.After, m.Oldest = seq, h.limit+1
		}
		if m.Oldest > 0 {
			h.readPage(ctx, m)
			continue
		}
		if m.Through <= m.After {
			continue
		}
		events, err := h.api.backplane.Older(ctx, m)
		switch {
		case err == nil:
		case len(events) > 0:
			h.more = true // those are the newest: the others are over the bounds of one fetch
		default:
			h.gap = engine.GapHistory.String()
		}
		h.add(events, m.All)
	}
}

// readPage fetches as many of the oldest events of a range as an answer can have. Each fetch returns some of them.
func (h *history) readPage(ctx context.Context, m engine.Missing) {
	for room := h.api.config.Load().MaxBodyBytes; m.Oldest > 0 && room >= 0 && m.After < m.Through; {
		events, err := h.api.backplane.Older(ctx, m)
		if err != nil {
			h.gap = engine.GapHistory.String()
		}
		if len(events) == 0 {
			return
		}
		h.add(events, m.All)
		for _, ev := range events {
			room -= len(ev.Bytes())
		}
		m.Oldest -= len(events)
		m.After = h.api.eng.PositionInLog(m.Partition, events[len(events)-1]).Seq
	}
}

func (h *history) add(events []*engine.Event, all bool) {
	for _, ev := range events {
		h.found = append(h.found, past{ev, all})
	}
}

// answer cuts the list to the limit and to Config.MaxBodyBytes.
func (h *history) answer() historyAnswer {
	result := historyAnswer{Key: h.key, Events: []pastEvent{}, Gap: h.gap, More: h.more}
	var parser codec.Parser
	room := h.api.config.Load().MaxBodyBytes
	if h.after == "" {
		slices.Reverse(h.found)
	}
	for _, p := range h.found {
		if room -= len(p.Bytes()); len(result.Events) == h.limit || room < 0 && len(result.Events) > 0 {
			result.More = true
			break
		}
		parser.Reset()
		_ = parser.Feed(p.Bytes(), func(m codec.Message) { // comments have none
			result.Events = append(result.Events, pastEvent{
				ID: string(p.IDBytes()), Time: time.Unix(0, p.At()).UTC().Format(time.RFC3339Nano), Event: string(m.Type), Data: string(m.Data), All: p.all,
			})
		})
	}
	if h.after == "" {
		slices.Reverse(result.Events)
	}
	return result
}
