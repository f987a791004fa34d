package api

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/cluster"
	"fanfare/engine"
)

// keyOf returns the key of the query; a missing or empty one is the default of
// Config.Keys. If the key is not allowed, in general or to the sender, it answers the
// request itself. The head has been decided on by the same key; this is the one that is
// used.
func (a *API) keyOf(ctx *fasthttp.RequestCtx, who auth.Publisher, right auth.Right) (key string, ok bool) {
	key, problem := a.config.Load().Keys.Resolve(string(ctx.QueryArgs().Peek("key")))
	if problem != "" {
		fail(ctx, fasthttp.StatusBadRequest, "key", "key "+problem)
		return "", false
	}
	if err := who.Check(right, key); err != nil {
		a.refuse(ctx, route{method: string(ctx.Method())}, refusalOf(err))
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

func (a *API) serveClose(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	if !a.noBody(ctx, "/close") {
		return
	}
	if key, ok := a.keyOf(ctx, who, auth.RightClose); ok {
		n, _, f := a.askAll(cluster.Question{Op: "close", Key: key})
		answer(ctx, fasthttp.StatusOK, closedAnswer{n, f})
	}
}

func (a *API) serveCloseAll(ctx *fasthttp.RequestCtx, _ auth.Publisher) {
	if !a.noBody(ctx, "/closeAll") {
		return
	}
	n, _, f := a.askAll(cluster.Question{Op: "closeAll"})
	answer(ctx, fasthttp.StatusOK, closedAnswer{n, f})
}

func (a *API) serveCount(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	if key, ok := a.keyOf(ctx, who, auth.RightRead); ok {
		n, _, f := a.askAll(cluster.Question{Op: "count", Key: key})
		answer(ctx, fasthttp.StatusOK, countAnswer{n, f})
	}
}

func (a *API) serveCountAll(ctx *fasthttp.RequestCtx, _ auth.Publisher) {
	n, _, f := a.askAll(cluster.Question{Op: "countAll"})
	answer(ctx, fasthttp.StatusOK, countAnswer{n, f})
}

// serveDisconnect ends the streams of a subject: the "subject" of its grant.
func (a *API) serveDisconnect(ctx *fasthttp.RequestCtx, _ auth.Publisher) {
	if !a.noBody(ctx, "/disconnect") {
		return
	}
	subject := string(ctx.QueryArgs().Peek("subject"))
	if subject == "" || !utf8.ValidString(subject) {
		fail(ctx, fasthttp.StatusBadRequest, "subject", "subject is missing or not valid UTF-8: name who is to be disconnected, as in /disconnect?subject=u42")
		return
	}
	n, _, f := a.askAll(cluster.Question{Op: "disconnect", Subject: subject})
	answer(ctx, fasthttp.StatusOK, disconnectedAnswer{n, f})
}

// servePresence lists the subjects that have streams on a key.
func (a *API) servePresence(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	key, ok := a.keyOf(ctx, who, auth.RightRead)
	if !ok {
		return
	}
	count, subjects, f := a.askAll(cluster.Question{Op: "presence", Key: key})
	result := presenceAnswer{Subscribers: count, Subjects: []presentSubject{}, fleet: f}
	for subject, n := range subjects {
		result.Subjects = append(result.Subjects, presentSubject{subject, n})
	}
	slices.SortFunc(result.Subjects, func(a, b presentSubject) int { return cmp.Compare(a.Subject, b.Subject) })
	answer(ctx, fasthttp.StatusOK, result)
}

// GET /keys lists defaultTop keys, unless it asks for another number up to maxTop.
const (
	defaultTop = 20
	maxTop     = 1000
)

// queryNumber returns a number of the query, from 1 to most, or def if it is not there. If it is not valid, it answers the
// request itself.
func queryNumber(ctx *fasthttp.RequestCtx, name string, def, most int) (n int, ok bool) {
	arg := ctx.QueryArgs().Peek(name)
	if len(arg) == 0 {
		return def, true
	}
	n, err := strconv.Atoi(string(arg))
	if err != nil || n < 1 || n > most {
		fail(ctx, fasthttp.StatusBadRequest, name, fmt.Sprintf("%s %.40q is not a number from 1 to %d", name, arg, most))
		return 0, false
	}
	return n, true
}

// serveKeys lists the keys that the sender may read.
func (a *API) serveKeys(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	top, ok := queryNumber(ctx, "top", defaultTop, maxTop)
	if !ok {
		return
	}
	stats, keys := a.eng.TopOf(top, func(key string) bool { return who.Allows(auth.RightRead, key) })
	if stats == nil {
		stats = []engine.KeyStats{} // [] and not null
	}
	answer(ctx, fasthttp.StatusOK, keysAnswer{keys, stats})
}
