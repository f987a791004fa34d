package api

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/transport/internal/clientlog"
)

// TestEveryRouteNamesItsRights: a route that is added without rights is for nobody; this says so before somebody wonders.
func TestEveryRouteNamesItsRights(t *testing.T) {
	all := map[string]route{"/debug/pprof/": pprofRoute}
	for name, r := range routes {
		all[name] = r
	}
	for name, r := range all {
		if open := name == "/healthz" || name == "/readyz"; r.open != open {
			t.Errorf("%s: open is %t", name, r.open)
		}
		if r.open {
			continue
		}
		if len(r.rights) == 0 || r.scope < ofKey || r.scope > ofBody || r.scope != ofBody && len(r.rights) != 1 {
			t.Errorf("%s needs %v of scope %d", name, r.rights, r.scope)
		}
		if r.scope == ofKey && r.param != "key" {
			t.Errorf("%s has no key in its query", name)
		}
		for _, right := range r.rights {
			if !slices.Contains(auth.AllRights, right) {
				t.Errorf("%s needs %q, which nobody can have", name, right)
			}
		}
		if p := (route{method: r.method}).permits(everybody, decisionTarget, &Config{}); p == nil {
			t.Error("a route without rights is for everybody")
		}
	}
}

// TestExpiredCertificate: a certificate that has expired since the connection was made counts no more.
func TestExpiredCertificate(t *testing.T) {
	var h fasthttp.RequestHeader
	a := &API{}
	for name, c := range map[string]*Config{
		"alone": {NeedsCertificate: true},
		"entries": {Identify: func(_ context.Context, r auth.PublishRequest) (auth.Publisher, error) {
			if r.Certificate == nil {
				return auth.Publisher{}, &auth.Denied{Status: 401, Code: auth.CodeMissing}
			}
			return everybody, nil
		}},
	} {
		a.Publisher = &Publisher{log: clientlog.New(slog.New(slog.DiscardHandler), nil)}
		if _, p := a.identify(&h, &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}, c); p != nil {
			t.Errorf("%s: valid: %+v", name, p)
		}
		if _, p := a.identify(&h, &x509.Certificate{NotAfter: time.Now().Add(-time.Second)}, c); p == nil || p.status != 401 {
			t.Errorf("%s: expired: %+v", name, p)
		}
	}
}

var decisionTarget = decision{}.target

func TestRates(t *testing.T) {
	var r rates
	now := time.Unix(1_000_000, 0)
	take := func(name string, perSecond, n int, want time.Duration) {
		t.Helper()
		if got := r.take(name, perSecond, n, now); got.Round(time.Microsecond) != want {
			t.Errorf("%s takes %d of %d: waits %s, want %s", name, n, perSecond, got, want)
		}
	}
	// One second's worth at once, and then as many as time allows.
	for range 4 {
		take("a", 4, 1, 0)
	}
	take("a", 4, 1, 250*time.Millisecond)
	take("a", 4, 2, 500*time.Millisecond) // a refusal takes nothing
	take("b", 4, 4, 0)                    // each has a bucket of its own
	now = now.Add(250 * time.Millisecond)
	take("a", 4, 1, 0)
	take("a", 4, 1, 250*time.Millisecond)
	// More than a bucket holds is admitted if it is full, and paid for afterwards.
	now = now.Add(time.Second)
	take("a", 4, 10, 0)
	take("a", 4, 1, 1750*time.Millisecond)
	now = now.Add(1750 * time.Millisecond)
	take("a", 4, 1, 0)
	take("a", 4, 10, time.Second)
	// A bucket does not grow beyond one second's worth.
	now = now.Add(time.Hour)
	take("a", 4, 4, 0)
	take("a", 4, 1, 250*time.Millisecond)
	// Another rate, by a reload or another credential of that name.
	now = now.Add(time.Hour)
	take("a", 2, 2, 0)
	take("a", 2, 1, 500*time.Millisecond)
}

// TestRatesAreBounded: any number of subjects of JSON Web Tokens takes no more than a bounded number of buckets, and those for
// whom there is none left share one.
func TestRatesAreBounded(t *testing.T) {
	var r rates
	now := time.Unix(1_000_000, 0)
	for i := range maxRates {
		r.take("jwt:"+strconv.Itoa(i), 1, 1, now)
	}
	if wait := r.take("jwt:one", 1, 1, now); wait != 0 {
		t.Errorf("the shared bucket: %s", wait)
	}
	if wait := r.take("jwt:other", 1, 1, now); wait == 0 {
		t.Error("the shared bucket is not shared")
	}
	if wait := r.take("jwt:7", 1, 1, now); wait == 0 {
		t.Error("a bucket was lost")
	}
	now = now.Add(2 * time.Second)
	if wait := r.take("jwt:next", 1, 1, now); wait != 0 || len(r.by) != 1 {
		t.Errorf("waits %s among %d buckets: full ones are kept", wait, len(r.by))
	}
}

func TestRetryAfter(t *testing.T) {
	for wait, want := range map[time.Duration]string{1: "1", time.Second: "1", time.Second + 1: "2", 90 * time.Second: "90", math.MaxInt64 / 2: "4611686019"} {
		if got := retryAfter(wait); got != want {
			t.Errorf("%s: %s, want %s", wait, got, want)
		}
	}
}
