package api

import (
	"fmt"
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
	// fromEarliest is the value of the parameter from.
	fromEarliest = "earliest"
)

type (
	historyAnswer struct {
		Key    string      `json:"key"`
		Events []pastEvent `json:"events"` // the oldest first
		// More says that there are more events: later ones if a place was given, otherwise earlier ones.
		More bool `json:"more"`
		// Next is the place after the last event, for the parameter after. It is empty if the key has no position yet.
		Next string `json:"next,omitempty"`
		// Gap is a reason of gap events: some of the events that were asked for cannot be had.
		Gap string `json:"gap,omitempty"`
	}
	pastEvent struct {
		ID       string `json:"id"`
		Position string `json:"position"` // the place after the event, as Next
		Time     string `json:"time"`     // RFC 3339, in UTC
		Event    string `json:"event"`    // "message" if it has no name
		Data     string `json:"data"`
		All      bool   `json:"all,omitempty"` // to all keys; said only with a backplane
	}
)

// serveHistory lists past events of a key: the newest, those after a place, or the oldest.
func (a *API) serveHistory(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	key, ok := a.keyOf(ctx, who, auth.RightRead)
	if !ok {
		return
	}
	limit, ok := queryNumber(ctx, "limit", defaultHistory, maxHistory)
	if !ok {
		return
	}
	after, from := string(ctx.QueryArgs().Peek("after")), string(ctx.QueryArgs().Peek("from"))
	switch {
	case from != "" && from != fromEarliest:
		fail(ctx, fasthttp.StatusBadRequest, "from", fmt.Sprintf("from %.40q is unknown: use from=%s, for the oldest events that are kept", from, fromEarliest))
		return
	case from != "" && after != "":
		fail(ctx, fasthttp.StatusBadRequest, "from", "from and after are both given: use from for the first page, and after for the others")
		return
	}
	h := history{api: a, key: key, limit: limit}
	h.begin(after, from == fromEarliest)
	h.read()
	answer(ctx, fasthttp.StatusOK, h.answer())
}

// answer cuts the list to the limit and to Config.MaxBodyBytes.
func (h *history) answer() historyAnswer {
	result := historyAnswer{Key: h.key, Events: []pastEvent{}, Gap: h.gap}
	list, more := h.merge()
	first, end := h.cut(list)
	more = more || first > 0 || end < len(list)
	var parser codec.Parser
	for _, p := range list[:first] {
		h.pass(p)
	}
	for _, p := range list[first:end] {
		h.pass(p)
		parser.Reset()
		_ = parser.Feed(p.Bytes(), func(m codec.Message) { // comments have none
			result.Events = append(result.Events, pastEvent{
				ID: string(p.IDBytes()), Position: h.place(), Time: time.Unix(0, p.At()).UTC().Format(time.RFC3339Nano),
				Event: string(m.Type), Data: string(m.Data), All: p.all,
			})
		})
	}
	if !h.paging || !more { // all that there was has been listed, or is older
		h.passAll()
	}
	result.More, result.Next = more, h.place()
	return result
}

// cut returns the range of the list that one answer can have: the oldest events after a place, otherwise the newest.
func (h *history) cut(list []past) (first, end int) {
	room := h.api.config.Load().MaxBodyBytes
	n := 0
	for ; n < min(len(list), h.limit); n++ {
		i := n
		if !h.paging {
			i = len(list) - 1 - n
		}
		if room -= len(list[i].Bytes()); room < 0 && n > 0 {
			break
		}
	}
	if h.paging {
		return 0, n
	}
	return len(list) - n, len(list)
}

// past is an event with its position, and whether it is one to all keys.
type past struct {
	*engine.Event
	engine.Position
	all bool
}
