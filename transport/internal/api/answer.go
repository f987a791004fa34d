package api

import (
	"errors"
	"strings"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"

	"fanfare/auth"
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
	// Code says why somebody may not do this: one of the codes of package auth, or "later".
	Code string `json:"code,omitempty"`
	// Line is the line of a batch, from 1.
	Line int `json:"line,omitempty"`
}

func fail(ctx *fasthttp.RequestCtx, status int, field, text string) {
	answer(ctx, status, failure{Error: text, Field: field})
}

// describe returns the status and body for an error of publishing.
func describe(err error) (int, failure) {
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
	}
	allAnswer struct {
		Keys        int `json:"keys"`
		Subscribers int `json:"subscribers"`
		Events      int `json:"events,omitempty"`
	}
	closedAnswer struct {
		Closed int `json:"closed"`
	}
	countAnswer struct {
		Count int `json:"count"`
	}
	disconnectedAnswer struct {
		Disconnected int `json:"disconnected"`
	}
	presenceAnswer struct {
		Subscribers int              `json:"subscribers"` // all streams of the key, also those without a subject
		Subjects    []presentSubject `json:"subjects"`
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
