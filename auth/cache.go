package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// cache keeps the grants of the callback for as long as the application says.
type cache struct {
	max     int
	now     func() time.Time
	flights singleflight.Group

	mu      sync.Mutex // not held while asking
	entries map[question]entry
	purges  uint64 // how many there were
}

type entry struct {
	grant         Grant
	stored, until time.Time
}

// errSuperseded is the result of a flight that a purge has overtaken: its grant may be one that has just been taken back.
var errSuperseded = errors.New("the answer was overtaken by a purge")

// get returns the grant for a question: a kept one, the one that somebody is asking for already, or that of ask.
func (c *cache) get(ctx context.Context, q question, ask func() (Grant, time.Duration, error)) (Grant, error) {
	for {
		g, purges, ok := c.lookup(q)
		if ok {
			return g, nil
		}
		// purges is that of the caller whose function runs. Those who join it later, even after a purge, get errSuperseded.
		wait := c.flights.DoChan(string(q[:]), func() (any, error) {
			if g, _, ok := c.lookup(q); ok {
				return g, nil // another flight has just ended
			}
			g, keep, err := ask()
			if !c.store(q, g, keep, err, purges) {
				return nil, errSuperseded
			}
			return g, err
		})
		select {
		case result := <-wait:
			if errors.Is(result.Err, errSuperseded) {
				continue // ask once more: each round needs another purge
			}
			if result.Err != nil {
				return Grant{}, result.Err
			}
			return result.Val.(Grant).clone(), nil
		case <-ctx.Done():
			return Grant{}, later("the request has ended")
		}
	}
}

func (c *cache) lookup(q question) (g Grant, purges uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, has := c.entries[q]; has {
		if now := c.now(); e.valid(now) {
			return e.grant.clone(), 0, true
		}
		delete(c.entries, q)
	}
	return g, c.purges, false
}

// valid reports whether the grant may still be used. A clock that has been set back does not make it last longer.
func (e entry) valid(now time.Time) bool { return !now.Before(e.stored) && now.Before(e.until) }

// store keeps a grant, unless a purge came in between: then it returns false if the answer was a grant.
func (c *cache) store(q question, g Grant, keep time.Duration, err error, purges uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		return true
	case c.purges != purges:
		return false
	case keep <= 0:
		return true
	}
	now := c.now()
	e := entry{g.clone(), now, now.Add(keep)}
	if !g.Expires.IsZero() && g.Expires.Before(e.until) {
		e.until = g.Expires
	}
	if c.entries == nil {
		c.entries = make(map[question]entry)
	}
	if len(c.entries) >= c.max {
		c.evict(now)
	}
	c.entries[q] = e
	return true
}

// evict makes room: what is no longer valid among a few entries in random order, otherwise one of them.
func (c *cache) evict(now time.Time) {
	const look = 16
	n, removed := 0, false
	var last question
	for q, e := range c.entries {
		if last = q; !e.valid(now) {
			delete(c.entries, q)
			removed = true
		}
		if n++; n == look {
			break
		}
	}
	if !removed {
		delete(c.entries, last)
	}
}

// purge forgets the grants of a subject, or all of them. Those that are being asked for meanwhile are asked for again.
func (c *cache) purge(subject string, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purges++
	for q, e := range c.entries {
		if all || e.grant.Subject == subject {
			delete(c.entries, q)
		}
	}
}
