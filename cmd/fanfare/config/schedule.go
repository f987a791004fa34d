package config

import (
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fanfare/bridge/payload"
	"fanfare/bridge/schedule"
)

// Schedule is a source of events that the server runs itself, at set times. Its tags are those of [Config].
type Schedule struct {
	Name      string        `yaml:"name" form:"NAME" required:"logs and metrics use it" help:"Name of the schedule in logs and metrics; required and unique."`
	Every     time.Duration `yaml:"every" default:"0" min:"0" max:"8760h" help:"Interval between runs, at least 100ms. Either this or cron."`
	Cron      string        `yaml:"cron" form:"EXPRESSION" help:"Times of the runs: minute, hour, day of month, month, day of week, optionally with the second as an additional first field; or @hourly, @daily, @weekly, @monthly, @yearly."`
	Timezone  string        `yaml:"timezone" form:"ZONE" help:"Time zone of cron, such as Europe/Berlin. Empty: the machine's zone."`
	Immediate bool          `yaml:"immediate" default:"false" help:"Also run once when the schedule begins."`

	Key string `yaml:"key" form:"KEY" help:"Key to publish to. Either this or all."`
	All bool   `yaml:"all" default:"false" help:"Publish to all keys that exist."`

	Data    JSON              `yaml:"data" form:"any value" help:"Fixed data: a text, or any other value, which is sent as its JSON text. One of data, command and url."`
	Command []string          `yaml:"command" form:"ARGUMENT" help:"Program to run, with its arguments. What it writes to standard output is the data. No shell is involved unless the program is one: [sh, -c, 'date | rev']. The configuration file must then be writable only for its owner, and belong to root or to the user that fanfare runs as."`
	URL     string            `yaml:"url" form:"URL" help:"http or https URL to GET. The body of a 2xx response is the data."`
	Headers map[string]string `yaml:"headers" form:"NAME: VALUE" redact:"yes" help:"Header fields of the request for url."`

	Payload  string        `yaml:"payload" default:"auto" enum:"auto,text,json" help:"What the data is. text: text. json: what app.sse.publish takes, a string or an object with data, event, id, retry. auto: such an object if it has data and no other members, and text otherwise."`
	Event    string        `yaml:"event" form:"TEXT" help:"Name of the event, unless the payload has one."`
	Retry    time.Duration `yaml:"retry" default:"0" min:"0" max:"1h" help:"Reconnection delay sent with the event, unless the payload has one. 0: none."`
	Timeout  time.Duration `yaml:"timeout" default:"10s" min:"10ms" max:"1h" help:"Longest time for a command or request. A command that takes longer is killed, with all programs in its process group."`
	MaxBytes Size          `yaml:"maxBytes" default:"256KiB" min:"1" max:"1GiB" help:"Largest output of a command, or body of a response. A larger one is refused, not cut."`

	OnlyChanged bool   `yaml:"onlyChanged" default:"false" help:"Publish only what differs from the last event that the schedule published."`
	SendLast    bool   `yaml:"sendLast" default:"false" help:"Send new subscribers the newest event of key first, as the setting sendLast does."`
	Idle        string `yaml:"idle" default:"run" enum:"run,skip" help:"skip: do not run while nobody is subscribed."`
}

const (
	// minEvery protects a source from a mistyped unit, which would ask it a thousand times a second.
	minEvery = 100 * time.Millisecond
	// maxScheduleName is in bytes: names are labels of metrics.
	maxScheduleName = 100
)

// requestHeaders are the headers of a schedule's request that may not be set, each with its reason.
var requestHeaders = map[string]string{
	"host":              "it follows from url",
	"content-length":    "a GET has no body",
	"transfer-encoding": "a GET has no body",
	"connection":        "connections are kept for the next run",
}

func checkSchedules(c *Config, at place) {
	first := make(map[string]int)
	for i := range c.Schedules {
		s, schedule := &c.Schedules[i], at.item(i)
		switch j, twice := first[s.Name]; {
		case s.Name == "" || len(s.Name) > maxScheduleName || !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
			schedule.part("name").fail("%s must have 1 to %d bytes of UTF-8 without control characters", quoteShort(s.Name), maxScheduleName)
		case twice:
			schedule.part("name").fail("%s is also the name of schedules[%d]: choose another", quoteShort(s.Name), j)
		default:
			first[s.Name] = i
		}
		if at := schedule.part("command"); s.Command != nil && c.untrusted != "" && c.Origin(at.path).Layer == LayerFile {
			at.fail("is refused, because others can change the file and run programs as this user: %s", c.untrusted)
		}
		if half := c.DuplicateWindow / 2; c.Fleet() && s.Data == "" && s.Timeout > half {
			schedule.part("timeout").fail("%s is more than half of duplicateWindow (%s, %s), in which the nodes of a fleet store one event for all: lower timeout, or raise duplicateWindow",
				formatDuration(s.Timeout), formatDuration(c.DuplicateWindow), c.Origin("duplicateWindow"))
		}
		s.checkTimes(schedule)
		s.checkSource(schedule)
		s.checkTarget(c, schedule)
	}
}

func (s *Schedule) checkTimes(at place) {
	switch {
	case s.Every != 0 && s.Cron != "":
		at.part("cron").fail("%s cannot be combined with every (%s): remove one of them", quoteShort(s.Cron), formatDuration(s.Every))
	case s.Every == 0 && s.Cron == "":
		at.fail("needs every (such as 5s) or cron (such as \"*/5 * * * *\")")
	case s.Every > 0 && s.Every < minEvery:
		at.part("every").fail("%s is less than %s", formatDuration(s.Every), formatDuration(minEvery))
	case s.Every != 0 && s.Timezone != "":
		at.part("timezone").fail("%s is only used with cron, and this schedule has every: remove it", quoteShort(s.Timezone))
	case s.Cron != "":
		if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
			at.part("timezone").fail("%s is not a known time zone: write one such as UTC or Europe/Berlin", quoteShort(s.Timezone))
		} else if _, err := schedule.ParseCron(s.Cron, s.Timezone); err != nil {
			at.part("cron").fail("%s", err)
		}
	}
}

func (s *Schedule) checkSource(at place) {
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
		at.fail("needs data, command or url")
	case len(sources) > 1:
		at.part(sources[1]).fail("cannot be combined with %s: remove one of them", sources[0])
	case s.Data != "":
		if mode, err := payload.ParseMode(s.Payload); err != nil {
			break // the check of the enum reports it
		} else if _, err := payload.Decode(s.Data.Payload(), mode); err != nil {
			at.part("data").fail("cannot be published with payload %s: %s", s.Payload, err)
		}
	case s.Command != nil:
		if len(s.Command) == 0 || s.Command[0] == "" {
			at.part("command").fail("must begin with a program")
		}
	default:
		s.checkURL(at.part("url"))
	}
	if s.Headers != nil && s.URL == "" {
		at.part("headers").fail("are only used with url: remove them, or set url")
	}
	checkHeaders(s.Headers, requestHeaders, at.part("headers"))
}

func (s *Schedule) checkURL(at place) {
	// Until it is clear that the URL holds no password it is not repeated.
	switch u, err := url.Parse(s.URL); {
	case err != nil:
		at.fail("is not a valid URL: write one such as https://app.example/status")
	case u.User != nil:
		at.fail("must not contain a user and password, which would be printed: put them into headers (Authorization)")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		at.fail("%s must begin with http:// or https:// and a host", quoteShort(withoutQuery(s.URL)))
	case u.Fragment != "":
		at.fail("%s must not have a fragment (#…): it is never sent to a server", quoteShort(withoutQuery(s.URL)))
	}
}

// withoutQuery cuts a URL where a credential may begin.
func withoutQuery(text string) string {
	if i := strings.IndexAny(text, "?#@"); i >= 0 {
		return text[:i] + "…"
	}
	return text
}

func (s *Schedule) checkTarget(c *Config, at place) {
	switch {
	case s.All && s.Key != "":
		at.part("all").fail("cannot be combined with key (%s): remove one of them", quoteShort(s.Key))
	case !s.All && s.Key == "":
		at.fail("needs key, or all: true")
	case s.All && s.SendLast:
		at.part("sendLast").fail("needs a key: with all, set sendLast for the keys in question (setting sendLast, or a rule of keys)")
	default:
		checkKey(c, s.Key, at.part("key"))
	}
	if strings.ContainsAny(s.Event, "\r\n\x00") {
		at.part("event").fail("%s must not contain a line end or NUL", quoteShort(s.Event))
	}
}
