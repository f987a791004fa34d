package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/run"
)

// settings converts the flags of a mode to the settings of a run.
func (c *command) settings(args []string) (*run.Settings, *common, error) {
	s := &run.Settings{Duration: 10 * time.Second}
	var f *common
	stallPercent, stallBuffer := 0.0, 0
	g := &c.flags
	switch c.name {
	case run.Closed:
		f, s.Round = &g.Closed.common, g.Closed.RoundTimeout
	case run.Open:
		f, s.Rate = &g.Open.common, g.Open.Rate
	case run.Burst:
		f, s.Burst, s.Every, s.Round = &g.Burst.common, g.Burst.Burst, g.Burst.Every, g.Burst.RoundTimeout
	case run.Ramp:
		f, s.Rate = &g.Ramp.common, g.Ramp.Rate
	case run.Churn:
		f, s.Rate, s.Churn = &g.Churn.common, g.Churn.Rate, g.Churn.Churn
	case run.Storm:
		f, s.Rate, s.Every = &g.Storm.common, g.Storm.Rate, g.Storm.Every
		s.Fraction, s.Jitter = g.Storm.Fraction, g.Storm.Jitter
	case run.Stall:
		f, s.Rate = &g.Stall.common, g.Stall.Rate
		stallPercent, stallBuffer = g.Stall.Percent, g.Stall.StallBuffer
	default:
		return nil, nil, fmt.Errorf("%s is not a mode", c.name)
	}
	p, err := makePlan(c.name, f)
	if err != nil {
		return nil, nil, err
	}
	p.StallPercent, p.StallBuffer = stallPercent, stallBuffer
	switch c.name {
	case run.Churn, run.Storm:
		p.Reconnect = !given(args, "--no-reconnect")
	}
	s.Plan = *p
	if given(args, "--duration", "-d") {
		s.Duration = f.Duration
	}
	s.WarmupPasses = f.WarmupPasses
	s.Warmup, s.Settle, s.Drain, s.Events, s.Sample = f.Warmup, f.Settle, f.Drain, f.Events, f.Sample
	s.PIDs, s.Command, s.Version = f.ServerPID, commandLine(args), versionText()
	s.Checks = f.Checks
	for _, text := range f.Threshold {
		t, bad := report.ParseThreshold(text, len(f.ServerPID) > 0)
		err = errors.Join(err, bad)
		s.Thresholds = append(s.Thresholds, t)
	}
	return s, f, err
}

// given reports whether args have a flag. A flag that is given as its zero value must not be replaced by a mode's default.
func given(args []string, names ...string) bool {
	for _, a := range args {
		for _, n := range names {
			if a == n || strings.HasPrefix(a, n+"=") || len(n) == 2 && strings.HasPrefix(a, n) {
				return true
			}
		}
	}
	return false
}

// makePlan combines the preset with the flags that override it.
func makePlan(mode string, f *common) (*plan.Plan, error) {
	preset, err := plan.FindPreset(f.Preset)
	if err != nil {
		return nil, err
	}
	if f.Batch > 1 && !preset.Batch && f.PubBody == "" {
		return nil, fmt.Errorf("--batch %d: the publish route of the preset %s takes one event per request: give --preset fanfare-batch, "+
			"or a --publish-body that can be repeated", f.Batch, f.Preset)
	}
	// If the preset has one origin for both, --base moves both.
	publishBase := preset.PublishBase
	if f.Base != "" && preset.PublishBase == preset.Base {
		publishBase = f.Base
	}
	override := func(r plan.Request, url, method, body string, headers []string) plan.Request {
		r.URL, r.Method, r.Body = cmp.Or(url, r.URL), cmp.Or(method, r.Method), cmp.Or(body, r.Body)
		r.SetHeaders(headers)
		return r
	}
	return &plan.Plan{
		Run: strings.ToLower(rand.Text()[:5]), Mode: mode, Preset: f.Preset,
		Base:        strings.TrimSuffix(cmp.Or(f.Base, preset.Base), "/"),
		PublishBase: strings.TrimSuffix(cmp.Or(f.PublishBase, publishBase), "/"),
		Subscribe:   override(preset.Subscribe, f.Subscribe, f.SubMethod, "", f.SubHeader),
		Publish:     override(preset.Publish, f.Publish, f.PubMethod, f.PubBody, f.PubHeader),
		Key:         f.Key, Ready: cmp.Or(f.Ready, preset.Ready), GapEvent: f.GapEvent,
		Subscribers: f.Subscribers, Keys: f.Keys, Size: f.Size, Batch: f.Batch,
		Processes: f.Processes, Loops: f.Loops, Sources: f.Sources, AllowRemote: f.AllowRemote,
		Trust: plan.Trust{CA: f.CA, Insecure: f.Insecure, ServerName: f.ServerName, Resume: f.Resume},
		HTTP2: f.HTTP2, StreamsPerConnection: f.PerConn,
		Publishers: f.Publishers, PublishesInFlight: f.InFlightPubs, Pipeline: f.Pipeline, PublishTimeout: f.PublishTimeout,
		ConnectRate: f.ConnectRate, InFlight: f.InFlight, ConnectTimeout: f.ConnectTimeout,
		Reconnect: f.Reconnect, ReconnectDelay: f.ReconnectDelay,
	}, nil
}
