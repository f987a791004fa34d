package main

import (
	"context"
	"log/slog"

	"fanfare/bridge/nats"
	"fanfare/bridge/payload"
	"fanfare/bridge/relay"
	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// leadSubjects is the name of the node's job to publish what comes from the subjects.
const leadSubjects = "nats subjects"

// newNATS makes the bridge from NATS subjects, or returns nil if there are none. In a fleet the node that leads publishes for all.
func newNATS(c *config.Config, b *backplane, srv *transport.Server, logger *slog.Logger) (*nats.Bridge, error) {
	if len(c.NATSSubjects) == 0 {
		return nil, nil
	}
	rules, err := nats.ParseRules(c.NATSSubjects)
	if err != nil {
		return nil, err
	}
	mode, err := payload.ParseMode(c.NATSPayload)
	if err != nil {
		return nil, err
	}
	leads, succession := (func() bool)(nil), (*relay.Succession)(nil)
	if c.Fleet() {
		leads, succession = func() bool { return b.node.Leads(leadSubjects) }, b.succession(leadSubjects)
	}
	return nats.New(nats.Options{
		URL:         string(c.NATSURL),
		Credentials: c.NATSCredentials,
		Rules:       rules,
		Leads:       leads,
		Succession:  succession,
		Durable:     c.Durable(),
		Payload:     mode,
		Engine:      srv.Engine(),
		Publish:     messagePublisher(srv, c.Durable(), nats.ErrTooLarge),
		Again:       temporary,
		Registerer:  srv.Registry(),
		Logger:      logger.With("source", "nats"),
	})
}

// startNATS connects, and waits until the first attempt has succeeded or failed, and until a node of the fleet leads: what comes
// before is lost.
func startNATS(b *nats.Bridge) {
	b.Start()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	b.Settled(ctx)
}
