package main

import (
	"context"
	"log/slog"
	"sync"

	"fanfare/auth"
	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// door keeps the Authorizer of the configuration in effect. A reload replaces it; the old one is closed when its last call has
// returned.
type door struct {
	mu  sync.Mutex
	now *user
}

// user is an Authorizer and the number of calls that use it.
type user struct {
	*auth.Authorizer
	calls   int
	retired bool
}

// replace puts another Authorizer into effect, and returns the one before, which the caller retires or puts back.
func (d *door) replace(next *user) (old *user) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, d.now = d.now, next
	return old
}

// retire closes an Authorizer that is not in effect any more, at once or after its last call.
func (d *door) retire(old *user) {
	if old == nil || old.Authorizer == nil {
		return
	}
	d.mu.Lock()
	old.retired = true
	idle := old.calls == 0
	d.mu.Unlock()
	if idle {
		old.Close()
	}
}

// guards says whether subscribers need a credential now.
func (d *door) guards() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.Authorizer != nil && d.now.GuardsSubscribe()
}

func (d *door) close() { d.retire(d.replace(&user{})) }

func (d *door) acquire() *user {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.calls++
	return d.now
}

func (d *door) release(u *user) {
	d.mu.Lock()
	u.calls--
	last := u.retired && u.calls == 0
	d.mu.Unlock()
	if last && u.Authorizer != nil {
		u.Close()
	}
}

// authorize is transport.Options.Authorize.
func (d *door) authorize(ctx context.Context, r auth.Request) (auth.Grant, error) {
	u := d.acquire()
	defer d.release(u)
	if u.Authorizer == nil { // the process ends
		return auth.Grant{}, auth.ErrLater
	}
	return u.Authorize(ctx, r)
}

// forget is transport.Options.Forget.
func (d *door) forget(subject string) {
	u := d.acquire()
	defer d.release(u)
	if u.Authorizer != nil {
		u.Purge(subject)
	}
}

// identify is transport.Options.IdentifyPublisher.
func (d *door) identify(ctx context.Context, r auth.PublishRequest) (auth.Publisher, error) {
	u := d.acquire()
	defer d.release(u)
	if u.Authorizer == nil {
		return auth.Publisher{}, auth.ErrLater
	}
	if !u.GuardsPublish() { // publishToken alone is in effect, and the settings of the transport follow in a moment
		return auth.Publisher{}, auth.ErrLater
	}
	return u.Identify(ctx, r)
}

// mint is transport.Options.Mint.
func (d *door) mint(p auth.Publisher, r auth.TokenRequest) (auth.Token, error) {
	u := d.acquire()
	defer d.release(u)
	if u.Authorizer == nil {
		return auth.Token{}, auth.ErrLater
	}
	return u.Mint(p, r)
}

// guard puts what the settings say about authorization into the options of the server. Without any everybody may subscribe, and
// whoever has publishToken may use the publish API, and nothing is asked.
func (d *door) guard(c *config.Config, o *transport.Options, logger *slog.Logger) (*user, error) {
	options := c.Authorization()
	options.Logger = logger
	a, err := auth.New(options)
	if err != nil {
		return nil, err
	}
	if a.GuardsSubscribe() {
		o.Authorize, o.Forget = d.authorize, d.forget
	}
	if a.GuardsPublish() {
		o.IdentifyPublisher = d.identify
	}
	if c.TokenSecret != "" {
		o.Mint = d.mint
	}
	return &user{Authorizer: a}, nil
}
