package api

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"fanfare/engine"
)

// keyOf returns the key of the query; a missing or empty one is the default of
// Config.Keys. If the key is not allowed it answers the request itself.
func (a *API) keyOf(ctx *fasthttp.RequestCtx) (key string, ok bool) {
	key, problem := a.config.Load().Keys.Resolve(string(ctx.QueryArgs().Peek("key")))
	if problem != "" {
		fail(ctx, fasthttp.StatusBadRequest, "key", "key "+problem)
		return "", false
	}
	return key, true
}

// noBody refuses an object in the body of a request that does not read it: the key
// in it would be ignored.
func (a *API) noBody(ctx *fasthttp.RequestCtx, path string) bool {
	b, ok := a.readBody(ctx, smallBody)
	defer b.release()
	if !ok {
		return false
	}
	if text := bytes.TrimSpace(b.bytes); len(text) == 0 || text[0] != '{' || string(text) == "{}" {
		return true
	}
	fail(ctx, fasthttp.StatusBadRequest, "body", path+" takes no body: the streams of a key are closed by POST /close?key=KEY, all by POST /closeAll")
	return false
}

func (a *API) serveClose(ctx *fasthttp.RequestCtx) {
	if !a.noBody(ctx, "/close") {
		return
	}
	if key, ok := a.keyOf(ctx); ok {
		answer(ctx, fasthttp.StatusOK, closedAnswer{a.eng.CloseKey(key)})
	}
}

func (a *API) serveCloseAll(ctx *fasthttp.RequestCtx) {
	if !a.noBody(ctx, "/closeAll") {
		return
	}
	answer(ctx, fasthttp.StatusOK, closedAnswer{a.eng.CloseAll()})
}

func (a *API) serveCount(ctx *fasthttp.RequestCtx) {
	if key, ok := a.keyOf(ctx); ok {
		answer(ctx, fasthttp.StatusOK, countAnswer{a.eng.Count(key)})
	}
}

func (a *API) serveCountAll(ctx *fasthttp.RequestCtx) {
	answer(ctx, fasthttp.StatusOK, countAnswer{a.eng.CountAll()})
}

// serveDisconnect ends the streams of a subject: the "subject" of its grant.
func (a *API) serveDisconnect(ctx *fasthttp.RequestCtx) {
	if !a.noBody(ctx, "/disconnect") {
		return
	}
	subject := string(ctx.QueryArgs().Peek("subject"))
	if subject == "" || !utf8.ValidString(subject) {
		fail(ctx, fasthttp.StatusBadRequest, "subject", "subject is missing or not valid UTF-8: name who is to be disconnected, as in /disconnect?subject=u42")
		return
	}
	answer(ctx, fasthttp.StatusOK, disconnectedAnswer{a.Disconnect(subject)})
}

// servePresence lists the subjects that have streams on a key.
func (a *API) servePresence(ctx *fasthttp.RequestCtx) {
	key, ok := a.keyOf(ctx)
	if !ok {
		return
	}
	result := presenceAnswer{Subscribers: a.eng.Count(key), Subjects: []presentSubject{}}
	for subject, n := range a.Presence(key) {
		result.Subjects = append(result.Subjects, presentSubject{subject, n})
	}
	slices.SortFunc(result.Subjects, func(a, b presentSubject) int { return cmp.Compare(a.Subject, b.Subject) })
	answer(ctx, fasthttp.StatusOK, result)
}

// maxTop bounds GET /keys.
const maxTop = 1000

func (a *API) serveKeys(ctx *fasthttp.RequestCtx) {
	top := 20
	if arg := ctx.QueryArgs().Peek("top"); len(arg) > 0 {
		n, err := strconv.Atoi(string(arg))
		if err != nil || n < 1 || n > maxTop {
			fail(ctx, fasthttp.StatusBadRequest, "top", fmt.Sprintf("top is a number from 1 to %d", maxTop))
			return
		}
		top = n
	}
	stats := a.eng.Top(top)
	if stats == nil {
		stats = []engine.KeyStats{} // [] and not null
	}
	answer(ctx, fasthttp.StatusOK, keysAnswer{a.eng.Stats().Keys, stats})
}
