package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fanfare/bridge/payload"
	"fanfare/bridge/schedule"
)

const (
	// minEvery keeps a mistyped unit from asking a source a thousand times a second.
	minEvery = 100 * time.Millisecond
	// maxScheduleName is in bytes: names are labels of metrics.
	maxScheduleName = 100
)

// requestHeaders may not be set for a schedule's request.
var requestHeaders = map[string]string{
	"host":              "it follows from url",
	"content-length":    "a GET has no body",
	"transfer-encoding": "a GET has no body",
	"connection":        "connections are kept for the next run",
}

func (v *validator) schedules() {
	first := make(map[string]int)
	for i := range v.c.Schedules {
		s := &v.c.Schedules[i]
		at := fmt.Sprintf("schedules[%d]", i)
		switch j, twice := first[s.Name]; {
		case s.Name == "" || len(s.Name) > maxScheduleName || !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
			v.fail(at+".name", "%s must have 1 to %d bytes of UTF-8 without control characters", quoteShort(s.Name), maxScheduleName)
		case twice:
			v.fail(at+".name", "%s is the name of schedules[%d] too: choose another", quoteShort(s.Name), j)
		default:
			first[s.Name] = i
		}
		v.scheduleTimes(at, s)
		v.scheduleSource(at, s)
		v.scheduleTarget(at, s)
	}
}

func (v *validator) scheduleTimes(at string, s *Schedule) {
	switch {
	case s.Every != 0 && s.Cron != "":
		v.fail(at+".cron", "%s stands beside every (%s): leave one of them out", quoteShort(s.Cron), formatDuration(s.Every))
	case s.Every == 0 && s.Cron == "":
		v.fail(at, "needs every (such as 5s) or cron (such as \"*/5 * * * *\")")
	case s.Every > 0 && s.Every < minEvery:
		v.fail(at+".every", "%s is less than %s", formatDuration(s.Every), formatDuration(minEvery))
	case s.Every != 0 && s.Timezone != "":
		v.fail(at+".timezone", "%s is for cron, and this schedule has every: leave it out", quoteShort(s.Timezone))
	case s.Cron != "":
		if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
			v.fail(at+".timezone", "%s is no time zone: write one such as UTC or Europe/Berlin", quoteShort(s.Timezone))
		} else if _, err := schedule.ParseCron(s.Cron, s.Timezone); err != nil {
			v.fail(at+".cron", "%s", err)
		}
	}
}

func (v *validator) scheduleSource(at string, s *Schedule) {
	var sources []string
	for _, source := range []struct {
		name  string
		given bool
	}{{"data", s.Data != ""}, {"command", s.Command != nil}, {"url", s.URL != ""}} {
		if source.given {
			sources = append(sources, source.name)
		}
	}
	switch {
	case len(sources) == 0:
		v.fail(at, "needs data, command or url")
	case len(sources) > 1:
		v.fail(at+"."+sources[1], "stands beside %s: leave one of them out", sources[0])
	case s.Data != "":
		if mode, err := payload.ParseMode(s.Payload); err != nil {
			break // the enum says so
		} else if _, err := payload.Decode(s.Data.Payload(), mode); err != nil {
			v.fail(at+".data", "can't be published as payload %s: %s", s.Payload, err)
		}
	case s.Command != nil:
		if len(s.Command) == 0 || s.Command[0] == "" {
			v.fail(at+".command", "must begin with a program")
		}
	default:
		v.scheduleURL(at, s)
	}
	if s.Headers != nil && s.URL == "" {
		v.fail(at+".headers", "are for url, which this schedule hasn't: leave them out")
	}
	v.headers(at+".headers", s.Headers, requestHeaders)
}

func (v *validator) scheduleURL(at string, s *Schedule) {
	switch u, err := url.Parse(s.URL); {
	case err != nil:
		v.fail(at+".url", "%s is no URL: it can't be read", quoteShort(s.URL))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		v.fail(at+".url", "%s must begin with http:// or https:// and a host", quoteShort(s.URL))
	case u.User != nil:
		v.fail(at+".url", "must not hold a user and password, which would be printed: put them into headers (Authorization)")
	case u.Fragment != "":
		v.fail(at+".url", "%s must not have a fragment (#…): servers don't see it", quoteShort(s.URL))
	}
}

func (v *validator) scheduleTarget(at string, s *Schedule) {
	switch {
	case s.All && s.Key != "":
		v.fail(at+".all", "stands beside key (%s): leave one of them out", quoteShort(s.Key))
	case !s.All && s.Key == "":
		v.fail(at, "needs key, or all: true")
	case !utf8.ValidString(s.Key):
		v.fail(at+".key", "%s is not UTF-8", quoteShort(s.Key))
	case int64(len(s.Key)) > int64(v.c.MaxKeyBytes):
		v.fail(at+".key", "has %d bytes, more than maxKeyBytes allows (%s, %s)", len(s.Key), v.c.MaxKeyBytes, v.c.Origin("maxKeyBytes"))
	case s.All && s.SendLast:
		v.fail(at+".sendLast", "needs a key: with all, set sendLast for the keys in question (setting sendLast, or a rule of keys)")
	}
	if strings.ContainsAny(s.Event, "\r\n\x00") {
		v.fail(at+".event", "%s must not contain a line end or NUL", quoteShort(s.Event))
	}
}
