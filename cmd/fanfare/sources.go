package main

import (
	"context"
	"errors"
	"fmt"

	"fanfare/bridge/relay"
	"fanfare/cluster"
	"fanfare/transport"
)

// messagePublisher returns the function with which a source publishes messages, like the publish API and with its limits.
// durable says that they go to a backplane; only then may one be published twice, and only then do their IDs count. tooLarge
// is the error of the source for an event over a limit of size.
func messagePublisher(srv *transport.Server, durable bool, tooLarge error) func(context.Context, []relay.Message) []error {
	return func(ctx context.Context, messages []relay.Message) []error {
		batch := make([]transport.Message, len(messages))
		for i, m := range messages {
			batch[i] = transport.Message{Key: m.Key, Event: m.Event}
			if durable {
				batch[i].ID = m.ID
			}
		}
		errs := make([]error, len(messages))
		for i, r := range srv.PublishMessages(ctx, batch) {
			errs[i] = sizeError(r.Err, tooLarge)
		}
		return errs
	}
}

// sizeError adds tooLarge to an error that says that an event is too large.
func sizeError(err, tooLarge error) error {
	var size *transport.SizeError
	if errors.As(err, &size) || errors.Is(err, cluster.ErrTooLarge) {
		return fmt.Errorf("%w: %w", tooLarge, err)
	}
	return err
}

// temporary reports whether an event may be published later that the backplane has not stored, or not confirmed.
func temporary(err error) bool {
	return errors.Is(err, cluster.ErrUnknown) || errors.Is(err, cluster.ErrAway) || errors.Is(err, cluster.ErrFull)
}
