package main

import (
	"log/slog"

	"fanfare/bridge/nats"
	"fanfare/bridge/payload"
	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

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
	queue, leads := "", (func() bool)(nil)
	if c.Fleet() {
		queue, leads = "fanfare-"+fleetName(c), func() bool { return b.node.Leads("nats subjects") }
	}
	return nats.New(nats.Options{
		URL:         string(c.NATSURL),
		Credentials: c.NATSCredentials,
		Rules:       rules,
		Queue:       queue,
		Leads:       leads,
		Durable:     c.Durable(),
		Payload:     mode,
		Engine:      srv.Engine(),
		Publish:     messagePublisher(srv, c.Durable(), nats.ErrTooLarge),
		Again:       temporary,
		Registerer:  srv.Registry(),
		Logger:      logger.With("source", "nats"),
	})
}
