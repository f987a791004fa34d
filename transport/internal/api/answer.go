package api

import (
	"errors"
	"strings"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/cluster"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport/internal/clientlog"
)

// answer sends v as JSON.
func answer(ctx *fasthttp.RequestCtx, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = fasthttp.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded"}`)
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(append(b, '\n'))
}

// failure is the body of every error answer.
type failure struct {
	Error string `json:"error"`
	// Field names the field, header or setting at fault.
	Field string `json:"field,omitempty"`
	// Code says why somebody may not do this: one of the codes of package auth, or "later". Or it says what became of an
	// event: codeUnconfirmed, codeAway, codeFull or codeSkipped.
	Code string `json:"code,omitempty"`
	// IDs are those of the events of the request, "" for one that is not stored or not confirmed.
	IDs []string `json:"ids,omitempty"`
	// Line is the line of a batch, from 1.
	Line int `json:"line,omitempty"`
}

func fail(ctx *fasthttp.RequestCtx, status int, field, text string) {
	answer(ctx, status, failure{Error: text, Field: field})
}

// What became of an event that the log has not stored.
const (
	codeUnconfirmed = "unconfirmed" // it may be stored
	codeAway        = "away"
	codeFull        = "full"
	codeSkipped     = "skipped" // an earlier line of the batch is not stored
)

// describe returns the status and body for an error of publishing. repeatable says that the publisher has sent an
// Idempotency-Key.
func describe(err error, repeatable bool) (int, failure) {
	var (
		ce *codec.Error
		se *SizeError
		le *engine.LimitError
		de *auth.Denied
	)
	switch {
	case errors.As(err, &de):
		p := refusalOf(de)
		return p.status, failure{Error: p.text, Field: p.field, Code: p.code}
	case errors.As(err, &ce):
		return fasthttp.StatusBadRequest, failure{Error: ce.Error(), Field: ce.Field}
	case errors.As(err, &se):
		return fasthttp.StatusRequestEntityTooLarge, failure{Error: se.Error(), Field: se.Limit}
	case errors.As(err, &le):
		return fasthttp.StatusServiceUnavailable, failure{Error: le.Error(), Field: le.Limit}
	case errors.Is(err, errRepeats):
		return fasthttp.StatusServiceUnavailable, failure{Error: err.Error(), Field: limitRepeats}
	case errors.Is(err, errHalted):
		return fasthttp.StatusServiceUnavailable, failure{Error: err.Error(), Code: codeSkipped}
	case errors.Is(err, cluster.ErrUnknown):
		text := "the log has not confirmed the event in time (publishTimeout): it may be stored or not; "
		if repeatable {
			text += "repeat the request with the same Idempotency-Key, and it is stored once"
		} else {
			text += "a repetition may store it twice: send an Idempotency-Key with every request, and repeat it with the same one"
		}
		return fasthttp.StatusServiceUnavailable, failure{Error: text, Code: codeUnconfirmed}
	case errors.Is(err, cluster.ErrAway):
		return fasthttp.StatusServiceUnavailable, failure{Error: err.Error(), Code: codeAway}
	case errors.Is(err, cluster.ErrTooLarge):
		return fasthttp.StatusRequestEntityTooLarge, failure{Error: err.Error(), Field: "data"}
	case errors.Is(err, cluster.ErrFull):
		return fasthttp.StatusInsufficientStorage, failure{Error: err.Error(), Code: codeFull}
	default:
		return fasthttp.StatusBadRequest, failure{Error: err.Error()}
	}
}

// logFailure logs an error answer: its body says what is wrong.
func (a *API) logFailure(ctx *fasthttp.RequestCtx, path string) {
	status := ctx.Response.StatusCode()
	if status < 400 {
		return
	}
	reason := strings.TrimSpace(string(ctx.Response.Body()))
	var f failure
	if json.Unmarshal(ctx.Response.Body(), &f) == nil && f.Error != "" {
		reason = f.Error
	}
	if cause, ok := ctx.UserValue(causeKey{}).(string); ok {
		reason += " (" + cause + ")"
	}
	a.log.Refused(clientlog.Refusal{
		Listener: "admin", Status: status, Method: string(ctx.Method()), Path: path, Reason: reason, Remote: a.config.Load().Proxies.ClientOf(ctx),
	})
}

type (
	publishAnswer struct {
		ID          string   `json:"id"`
		IDs         []string `json:"ids,omitempty"`    // of a text/event-stream body
		Events      int      `json:"events,omitempty"` // likewise
		Subscribers int      `json:"subscribers"`
		published
	}
	allAnswer struct {
		Keys        int `json:"keys"`
		Subscribers int `json:"subscribers"`
		Events      int `json:"events,omitempty"`
		published
	}
	// published is what is said only of some events.
	published struct {
		Stored    *bool `json:"stored,omitempty"`    // false: an event waits for the broker
		Duplicate bool  `json:"duplicate,omitempty"` // the same Idempotency-Key was used before
	}
	closedAnswer struct {
		Closed int `json:"closed"`
		fleet
	}
	countAnswer struct {
		Count int `json:"count"`
		fleet
	}
	disconnectedAnswer struct {
		Disconnected int `json:"disconnected"`
		fleet
	}
	presenceAnswer struct {
		Subscribers int              `json:"subscribers"` // all streams of the key, also those without a subject
		Subjects    []presentSubject `json:"subjects"`
		fleet
	}
	presentSubject struct {
		Subject string `json:"subject"`
		Streams int    `json:"streams"`
	}
	keysAnswer struct {
		Keys int64             `json:"keys"` // all that exist and may be read
		Top  []engine.KeyStats `json:"top"`
	}
)

// fleet says of how many nodes an answer is the sum. Without a backplane it is left out.
type fleet struct {
	Nodes  int       `json:"nodes,omitempty"`
	Silent *[]string `json:"silent,omitempty"` // the nodes that have not answered in time: [] for none
}

// stored is what an answer says about whether events are stored: nothing, unless one of them is not.
func stored(r *Receipt, before *bool) *bool {
	if r.Queued {
		return new(bool)
	}
	return before
}
