package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"fanfare/internal/ratelog"
)

// Errors of Remote.Named.
var (
	// ErrUnknown means that the set has been fetched and does not have the key.
	ErrUnknown = errors.New("the JWK Set does not have the key that the token names")
	// ErrUnavailable means that nobody knows, since the set cannot be fetched now.
	ErrUnavailable = errors.New("the JWK Set is not available now")
)

// maxSetBytes bounds a JWK Set. A set of 64 RSA keys of 8192 bits with certificates has some 200 kB.
const maxSetBytes = 512 << 10

// RemoteOptions are those of a Remote. All of them are needed.
type RemoteOptions struct {
	URL string
	// Refresh is the age at which keys are fetched again, MaxAge the age at which they are no longer used.
	Refresh, MaxAge time.Duration
	// Interval is the least time between two fetches.
	Interval time.Duration
	// Timeout bounds a fetch.
	Timeout time.Duration
	Client  *http.Client
	Now     func() time.Time
	Logger  *slog.Logger
	Limiter *ratelog.Limiter
}

// Remote has the keys of a JWKS URL. It fetches them when a token needs them: the first one, one that names a key that is not
// in the set, and one that comes when the set is old. Nothing runs in between. Its methods may be called from several
// goroutines.
type Remote struct {
	o      RemoteOptions
	ctx    context.Context
	cancel context.CancelFunc
	flight singleflight.Group // one fetch at a time; its only key is ""

	mu      sync.Mutex // not held while fetching
	keys    []Key
	fetched time.Time // when keys came
	tried   time.Time // when a fetch last began
}

// NewRemote makes a Remote. It does not fetch yet. Close ends it.
func NewRemote(o RemoteOptions) *Remote {
	r := &Remote{o: o}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends a fetch that is under way.
func (r *Remote) Close() { r.cancel() }

// Named returns the keys that may have signed a token that names the key id, or none (""). The error is ErrUnknown,
// ErrUnavailable or one of ctx.
func (r *Remote) Named(ctx context.Context, id string) ([]Key, error) {
	found, stale := r.known(id)
	if len(found) > 0 {
		if stale {
			r.flight.DoChan("", r.fetch) // these keys will do meanwhile
		}
		return found, nil
	}
	select {
	case result := <-r.flight.DoChan("", r.fetch):
		// Look first: a fetch that ended just before this one would have begun may have brought the key.
		if found, _ := r.known(id); len(found) > 0 {
			return found, nil
		}
		if result.Err != nil {
			return nil, ErrUnavailable
		}
		return nil, ErrUnknown
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// known returns the keys that are known and not too old, and whether it is time to fetch them again.
func (r *Remote) known(id string) (found []Key, stale bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.within(r.fetched, r.o.MaxAge) {
		return nil, true
	}
	return Named(r.keys, id), !r.within(r.fetched, r.o.Refresh) && !r.within(r.tried, r.o.Interval)
}

// within reports whether less than d has passed since t. If the clock has been set back, it is not known how much has, so the
// answer is no.
func (r *Remote) within(t time.Time, d time.Duration) bool {
	now := r.o.Now()
	return !t.IsZero() && !now.Before(t) && now.Sub(t) < d
}

var errTooSoon = errors.New("the last fetch was a moment ago")

// fetch replaces the keys, unless the last fetch began less than an interval ago.
func (r *Remote) fetch() (any, error) {
	r.mu.Lock()
	soon := r.within(r.tried, r.o.Interval)
	if !soon {
		r.tried = r.o.Now()
	}
	r.mu.Unlock()
	if soon {
		return nil, errTooSoon
	}
	list, err := r.get()
	if err != nil {
		if r.ctx.Err() == nil {
			r.o.Limiter.Log(r.o.Logger, slog.LevelWarn, "jwks", "the keys for tokens cannot be fetched: those known stay in use for now", "setting", "jwksURL", "error", err)
		}
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.fetched = list, r.o.Now()
	return nil, nil
}

func (r *Remote) get() ([]Key, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.o.URL, nil)
	if err != nil {
		return nil, errors.New("the URL is not valid")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.o.Client.Do(req)
	if err != nil {
		return nil, Inner(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer has status %d, not 200; redirects are not followed", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSetBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %w", Inner(err))
	case len(body) > maxSetBytes:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxSetBytes)
	}
	return ParseSet(body)
}

// Inner takes the URL out of an error of net/http: its query may have a secret or keys.
func Inner(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
