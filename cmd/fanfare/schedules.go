package main

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"

	// Time zones for cron on machines without them, such as a container image made from scratch.
	_ "time/tzdata"

	"fanfare/bridge/payload"
	"fanfare/bridge/schedule"
	"fanfare/cmd/fanfare/config"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport"
)

// newScheduleRunner makes the runner of schedules. They publish like the publish API, with the same limits and metrics.
func newScheduleRunner(c *config.Config, srv *transport.Server, logger *slog.Logger) (*schedule.Runner, error) {
	publish := func(m transport.Message) transport.Receipt {
		return srv.PublishMessages(context.Background(), []transport.Message{m})[0]
	}
	o := schedule.Options{
		Publish: func(message, key string, ev codec.Event) error {
			return publish(transport.Message{ID: message, Key: key, Event: ev}).Err
		},
		PublishAll: func(message string, ev codec.Event) error {
			return publish(transport.Message{ID: message, All: true, Event: ev}).Err
		},
		Watched: func(key string, all bool) bool {
			if all {
				return srv.Open() > 0
			}
			return srv.Engine().Count(key) > 0
		},
		Registerer: srv.Registry(),
		Logger:     logger,
	}
	if c.Fleet() {
		o.Window = c.DuplicateWindow
	}
	return schedule.New(o)
}

// schedules converts the settings.
func schedules(c *config.Config) []schedule.Schedule {
	all := make([]schedule.Schedule, len(c.Schedules))
	for i, s := range c.Schedules {
		all[i] = schedule.Schedule{
			Name:        s.Name,
			Every:       s.Every,
			Cron:        s.Cron,
			Timezone:    s.Timezone,
			Immediate:   s.Immediate,
			Key:         s.Key,
			All:         s.All,
			Data:        s.Data.Payload(),
			Command:     s.Command,
			URL:         s.URL,
			Header:      make(http.Header, len(s.Headers)),
			Event:       s.Event,
			Timeout:     s.Timeout,
			MaxBytes:    int64(s.MaxBytes),
			OnlyChanged: s.OnlyChanged,
			SkipIdle:    s.Idle == "skip",
		}
		all[i].Payload, _ = payload.ParseMode(s.Payload) // Validate allows only valid modes
		for name, value := range s.Headers {
			all[i].Header.Set(name, value)
		}
		if s.Retry > 0 {
			all[i].Retry = strconv.FormatInt(s.Retry.Milliseconds(), 10)
		}
	}
	return all
}

// sendLastKeys extends rule, which may be nil: the keys of schedules with sendLast get it.
func sendLastKeys(base engine.KeyOptions, rule func(string) *engine.KeyOptions, schedules []config.Schedule) func(string) *engine.KeyOptions {
	keys := make(map[string]*engine.KeyOptions)
	for _, s := range schedules {
		if !s.SendLast {
			continue
		}
		o := base
		if rule != nil {
			if by := rule(s.Key); by != nil {
				o = *by
			}
		}
		o.SendLast = true
		keys[s.Key] = &o
	}
	if len(keys) == 0 {
		return rule
	}
	return func(key string) *engine.KeyOptions {
		if o := keys[key]; o != nil {
			return o
		}
		if rule == nil {
			return nil
		}
		return rule(key)
	}
}
