package api

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"

	"fanfare/auth"
)

// rates limit the events per second of each publisher. A publisher has a bucket with one second's worth of events. A
// request is admitted as a whole or refused as a whole, before its first event is published, so that a publisher can send
// it again without publishing anything twice or out of order. A request with more events than the bucket holds is admitted
// when the bucket is full, and then the publisher waits until it is paid for.
type rates struct {
	mu sync.Mutex
	by map[string]*rate.Limiter // by the publisher's name
}

// maxRates bounds the buckets: there may be any number of JSON Web Tokens' subjects.
const maxRates = 10_000

// take takes n events out of a publisher's bucket, or returns after which time there will be enough in it.
func (r *rates) take(name string, perSecond, n int, now time.Time) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.bucket(name, perSecond, now)
	// A sum of fractions may be a little less than the whole.
	const tolerance = 1e-6
	if missing := float64(min(n, perSecond)) - l.TokensAt(now); missing > tolerance {
		return time.Duration(math.Ceil(missing / float64(perSecond) * float64(time.Second)))
	}
	if n > perSecond { // a limiter takes no more than a bucket at once
		l.SetBurstAt(now, n)
		defer l.SetBurstAt(now, perSecond)
	}
	l.ReserveN(now, n)
	return 0
}

// bucket returns the publisher's bucket. The caller holds mu.
func (r *rates) bucket(name string, perSecond int, now time.Time) *rate.Limiter {
	l, ok := r.by[name]
	if !ok && len(r.by) >= maxRates {
		for other, l := range r.by { // a full one is like a new one
			if l.TokensAt(now) >= float64(l.Burst()) {
				delete(r.by, other)
			}
		}
		if len(r.by) >= maxRates {
			name = "" // those for whom there is no room share one
			l, ok = r.by[name]
		}
	}
	if !ok {
		if r.by == nil {
			r.by = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Limit(perSecond), perSecond)
		r.by[name] = l
	}
	if l.Burst() != perSecond { // the settings have changed
		l.SetLimitAt(now, rate.Limit(perSecond))
		l.SetBurstAt(now, perSecond)
	}
	return l
}

// admit takes n events out of the publisher's bucket. If there are not enough in it, admit answers the request.
func (a *API) admit(ctx *fasthttp.RequestCtx, p auth.Publisher, n int) bool {
	perSecond := p.MaxRate
	if perSecond == 0 {
		perSecond = a.config.Load().MaxPublishRate
	}
	if perSecond == 0 || n == 0 {
		return true
	}
	wait := a.rates.take(p.Name, perSecond, n, time.Now())
	if wait == 0 {
		return true
	}
	a.refuse(ctx, route{method: fasthttp.MethodPost}, &problem{
		status: fasthttp.StatusTooManyRequests, field: "maxPublishRate", wait: wait, cause: "publisher " + p.Name,
		text: fmt.Sprintf("this publisher may publish %d events per second (maxPublishRate), and nothing of this request was published: send it again later, or raise the limit", perSecond),
	})
	return false
}

// retryAfter is the field of that name (RFC 9110, 10.2.3), in whole seconds.
func retryAfter(wait time.Duration) string {
	return strconv.Itoa(int((wait + time.Second - 1) / time.Second))
}
