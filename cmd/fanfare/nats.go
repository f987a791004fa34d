package main

import (
	"log/slog"

	"fanfare/bridge/nats"
	"fanfare/bridge/payload"
	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// newNATS makes the bridge from NATS subjects, or returns nil if there are none. In a fleet each message goes to one of its
// nodes; a server that is alone gets all.
func newNATS(c *config.Config, srv *transport.Server, logger *slog.Logger) (*nats.Bridge, error) {
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
	queue := ""
	if c.Fleet() {
		queue = "fanfare-" + fleetName(c)
	}
	return nats.New(nats.Options{
		URL:         string(c.NATSURL),
		Credentials: c.NATSCredentials,
		Rules:       rules,
		Queue:       queue,
		Payload:     mode,
		Engine:      srv.Engine(),
		Publish:     messagePublisher(srv, c.Durable(), nats.ErrTooLarge),
		Again:       temporary,
		Registerer:  srv.Registry(),
		Logger:      logger.With("source", "nats"),
	})
}
