// Package config is the configuration of the fanfare server: one schema (the tags of [Config]) from which the
// flags, the environment variables, the keys of the YAML file, the defaults, the help text, the reload rules and
// docs/configuration.md are made.
//
// The layers, weakest first: default, file, environment, flag. A stronger layer replaces a setting whole (a map or
// a list is not merged). Decoding and validation are apart: a layer only says that a text is no duration;
// [Config.Validate] says that a duration is out of range, and in which layer it stands.
package config

import (
	"log/slog"
	"time"
)

// Config is one effective configuration. It is read-only once loaded: share the pointer, don't write to it.
//
// Tags: yaml is the name in the file, from which the flag (--max-clients) and the variable (FANFARE_MAX_CLIENTS) are
// derived; default, min and max are texts as a user would write them; enum lists the allowed words; form is the
// place holder of the help; reload:"no" marks what needs a restart.
type Config struct {
	Listen         string   `yaml:"listen" group:"Listeners" default:":8080" reload:"no" form:"[HOST]:PORT" help:"Address on which subscribers connect."`
	Admin          string   `yaml:"admin" group:"Listeners" default:"127.0.0.1:8081" reload:"no" form:"[HOST]:PORT" help:"Address of the publish API, metrics and health. \"off\" disables it. An address other than loopback needs publishToken."`
	PublishToken   Secret   `yaml:"publishToken" group:"Listeners" default:"" form:"TOKEN" help:"Token that publish requests must bring as \"Authorization: Bearer TOKEN\". Empty: none is asked for. Prefer the environment or the file: a flag is visible to every process of the machine."`
	AdminOrigins   []string `yaml:"adminOrigins" group:"Listeners" default:"" form:"ORIGIN" help:"Browser origins, such as https://app.example, whose pages may call the admin listener, besides the built-in page. \"*\" is allowed only with a publishToken."`
	TrustedProxies []string `yaml:"trustedProxies" group:"Listeners" default:"" form:"CIDR" help:"Addresses of proxies, such as 10.0.0.7 or 10.0.0.0/8, whose X-Forwarded-For tells the client's address in the log. Empty: the field is passed over, since any client can send one."`
	Page           bool     `yaml:"page" group:"Listeners" default:"true" help:"Serve the built-in page at / on the stream listener."`
	PProf          bool     `yaml:"pprof" group:"Listeners" default:"false" help:"Serve /debug/pprof/ on the admin listener."`

	Path             string            `yaml:"path" group:"Stream" default:"/stream" form:"PATH" help:"Path of the stream."`
	Headers          map[string]string `yaml:"headers" group:"Stream" default:"" form:"NAME: VALUE" help:"Response headers of the stream, merged over the built-in ones. An empty value removes a built-in header."`
	AllowedOrigins   []string          `yaml:"allowedOrigins" group:"Stream" default:"" form:"ORIGIN" help:"Browser origins whose pages may read streams, such as https://app.example or https://*.example.com. Empty: every origin."`
	AllowCredentials bool              `yaml:"allowCredentials" group:"Stream" default:"false" help:"Let pages of allowedOrigins send cookies with a stream's request (withCredentials)."`
	CacheKey         string            `yaml:"cacheKey" group:"Stream" default:"@sse/count" reload:"no" form:"KEY" help:"Key of subscribers and publishers that name none."`
	IdleTimeout      time.Duration     `yaml:"idleTimeout" group:"Stream" default:"90s" min:"1s" max:"1h" reload:"no" help:"How long a connection without a stream is kept between two requests. Longer than the 60s of many proxies."`
	PingInterval     time.Duration     `yaml:"pingInterval" group:"Stream" default:"10s" min:"100ms" max:"24h" help:"Longest silence on a stream; then a heartbeat comment is sent."`
	IDs              string            `yaml:"ids" group:"Stream" default:"auto" enum:"auto,off" help:"auto: events that bring no id get one, so that clients can resume. off: exactly the bytes of egg-sse."`
	ReservedEvents   string            `yaml:"reservedEvents" group:"Stream" default:"warn" enum:"warn,refuse" help:"Events named error or open run a page's onerror or onopen; gap and position are the server's own. warn: they are published, and the log tells. refuse: publishing one is an error (400)."`
	Retry            time.Duration     `yaml:"retry" group:"Stream" default:"0" min:"0" max:"1h" help:"Reconnection delay told to the client at the start of a stream. 0: none is told."`

	MaxClients           int    `yaml:"maxClients" group:"Limits" default:"10000" min:"1" max:"10000000" help:"Subscribers per key."`
	MaxConnections       int    `yaml:"maxConnections" group:"Limits" default:"0" min:"0" max:"10000000" reload:"no" help:"Streams of the whole process. 0: as many as RLIMIT_NOFILE allows."`
	MaxKeys              int    `yaml:"maxKeys" group:"Limits" default:"1000000" min:"1" max:"100000000" help:"Keys that exist at a time."`
	MaxKeysPerConnection int    `yaml:"maxKeysPerConnection" group:"Limits" default:"16" min:"1" max:"1024" help:"Keys that one connection may subscribe to."`
	MaxKeyBytes          Size   `yaml:"maxKeyBytes" group:"Limits" default:"1024" min:"1" max:"16KiB" help:"Length of a key in bytes of UTF-8."`
	MaxIDBytes           int    `yaml:"maxIdBytes" group:"Limits" default:"1024" min:"1" max:"4096" help:"Length of an id that a publisher gives, in bytes. Clients come back with it in a header field."`
	MaxEventBytes        Size   `yaml:"maxEventBytes" group:"Limits" default:"2MiB" min:"64" max:"1GiB" help:"Length of one encoded event. At most historyBytes and maxBodyBytes."`
	MaxBodyBytes         Size   `yaml:"maxBodyBytes" group:"Limits" default:"16MiB" min:"1KiB" max:"1GiB" help:"Length of one request body on the admin listener."`
	OverLimit            string `yaml:"overLimit" group:"Limits" default:"retry" enum:"retry,503,204" help:"Answer to a subscriber over a limit. retry: a stream that tells a random delay between retryMin and retryMax, and ends. 503: with Retry-After. 204: as egg-sse does; browsers then give up for ever."`

	History           int           `yaml:"history" group:"History" default:"1024" min:"2" max:"1048576" help:"Events kept per key for clients that resume or lag; rounded up to a power of two, at least 8."`
	HistoryBytes      Size          `yaml:"historyBytes" group:"History" default:"16MiB" min:"1KiB" max:"64GiB" help:"Bytes of events kept per key. At most historyTotalBytes."`
	HistoryTTL        time.Duration `yaml:"historyTTL" group:"History" default:"5m" min:"100ms" max:"8760h" help:"How long an event is kept."`
	SendLast          bool          `yaml:"sendLast" group:"History" default:"false" help:"Send a subscriber that brings no last event id the newest event of its key first. That event is then kept beyond historyTTL, and a key that has one for as long as the server runs: mind maxKeys, or use it in rules of keys."`
	HistoryTotalBytes Size          `yaml:"historyTotalBytes" group:"History" default:"256MiB" min:"1KiB" max:"1024GiB" help:"Bytes of events kept for all keys together."`

	FlushInterval time.Duration `yaml:"flushInterval" group:"History" default:"0" min:"0" max:"1s" help:"Shortest time between two wake-ups of a key's subscribers. 0: each event wakes them. Otherwise what is published meanwhile leaves in one write at the end of the interval: less CPU time per delivery for keys of more than an event or two per interval, and up to so much more latency. An event after a quiet interval leaves at once."`

	Slow         string        `yaml:"slow" group:"Slow subscribers" default:"skip" enum:"skip,latest,disconnect" help:"What happens to a subscriber that the history has overtaken. skip: a gap event tells what was missed, then the oldest event kept. latest: it goes on with the newest event. disconnect: its stream ends."`
	WriteTimeout time.Duration `yaml:"writeTimeout" group:"Slow subscribers" default:"30s" min:"100ms" max:"1h" help:"A connection that takes no byte for so long is closed."`

	RetryMin     time.Duration `yaml:"retryMin" group:"Drain" default:"1s" min:"1ms" max:"1h" help:"Shortest reconnection delay told to clients at a drain or over a limit."`
	RetryMax     time.Duration `yaml:"retryMax" group:"Drain" default:"5s" min:"1ms" max:"1h" help:"Longest reconnection delay told to clients at a drain or over a limit."`
	DrainDelay   time.Duration `yaml:"drainDelay" group:"Drain" default:"0" min:"0" max:"1h" help:"Time between readiness off and the first stream ended, for load balancers to notice."`
	DrainRate    int           `yaml:"drainRate" group:"Drain" default:"1000" min:"1" max:"1000000" help:"Streams ended per second at least."`
	DrainTimeout time.Duration `yaml:"drainTimeout" group:"Drain" default:"10s" min:"0" max:"1h" help:"All streams are ended so long after the first one."`
	StdinStops   bool          `yaml:"stdinStops" group:"Drain" default:"false" reload:"no" help:"Drain and stop, as on SIGTERM, when standard input ends: for a program that starts fanfare through a pipe, so that it does not outlive that program, however it dies."`

	LogLevel  string `yaml:"logLevel" group:"Logging" default:"info" enum:"debug,info,warn,error" help:"Least severe level that is logged."`
	LogFormat string `yaml:"logFormat" group:"Logging" default:"auto" enum:"auto,text,json" reload:"no" help:"auto: text on a terminal, JSON otherwise."`
	AccessLog bool   `yaml:"accessLog" group:"Logging" default:"false" help:"Log a line for each stream when it ends: why, the client's address, keys, user agent, events and bytes written, events still waiting, seconds. Costs some 300 bytes more for each stream."`

	RedisURL        Secret        `yaml:"redisURL" group:"Redis" default:"" reload:"no" form:"URL" help:"Redis server to publish from: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS. Empty: none. Never printed; prefer the environment or the file if it has a password."`
	RedisChannels   []string      `yaml:"redisChannels" group:"Redis" default:"" reload:"no" form:"CHANNEL" help:"Pub/Sub channels to subscribe to; one with *, ? or [ in it is a pattern."`
	RedisStreams    []string      `yaml:"redisStreams" group:"Redis" default:"" reload:"no" form:"STREAM" help:"Redis Streams to read, or patterns of their names."`
	RedisKeys       []string      `yaml:"redisKeys" group:"Redis" default:"* -> *" reload:"no" form:"NAME -> KEY" help:"Which key a channel or stream is. A * in KEY stands for what the * in NAME stands for; the first rule that matches counts."`
	RedisPayload    string        `yaml:"redisPayload" group:"Redis" default:"auto" enum:"auto,text,json" reload:"no" help:"auto: an object with data, and nothing besides data, event, id and retry, is an event; anything else is the data. text: always the data. json: always what egg-sse's publish takes, a JSON string or such an object."`
	RedisTimeout    time.Duration `yaml:"redisTimeout" group:"Redis" default:"5s" min:"100ms" max:"1m" reload:"no" help:"Longest wait for a connection or an answer; a dead connection is noticed within twice this time."`
	RedisMaxStreams int           `yaml:"redisMaxStreams" group:"Redis" default:"1000" min:"1" max:"100000" reload:"no" help:"Streams that are read at a time."`

	Keys []KeyRule `yaml:"keys" group:"Key rules" default:"" form:"list of rules" help:"Settings for the keys that match a pattern. The first rule that matches a key counts."`

	Schedules []Schedule `yaml:"schedules" group:"Schedules" default:"" form:"list of schedules" help:"Events that the server makes itself from time to time. See docs/schedule.md."`

	origins map[string]Origin // by path ("history", "headers.X-A", "keys[0].match"); absent: default
	file    string            // "" without a file
	sum     [32]byte          // SHA-256 of the file's bytes, the baseline of Watch
}

// KeyRule overrides settings for the keys that match a pattern. A nil field leaves the setting as it is for all
// keys; the ranges are those of the settings of the same name.
type KeyRule struct {
	Match         string         `yaml:"match" form:"PATTERN" required:"each rule needs the pattern of the keys that it is for" help:"The keys that the rule is for; required. See below."`
	History       *int           `yaml:"history"`
	HistoryBytes  *Size          `yaml:"historyBytes"`
	HistoryTTL    *time.Duration `yaml:"historyTTL"`
	FlushInterval *time.Duration `yaml:"flushInterval"`
	Slow          *string        `yaml:"slow"`
	MaxClients    *int           `yaml:"maxClients"`
	SendLast      *bool          `yaml:"sendLast"`
}

// Off is the value of Admin that disables the admin listener.
const Off = "off"

// Secret is a text that formats, logs and marshals as "[redacted]"; string(s) is the text itself.
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue hides the text from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text from encoding/json and YAML encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// File is the path of the file that was loaded, "" without one.
func (c *Config) File() string { return c.file }

// Origin tells where the value of a path ("history", "headers.X-A", "keys[0].match") comes from. What has no origin
// of its own has that of what holds it.
func (c *Config) Origin(path string) Origin {
	for p := path; p != ""; p = parentPath(p) {
		if o, ok := c.origins[p]; ok {
			return o
		}
	}
	return Origin{}
}

func parentPath(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}

func (c *Config) setOrigin(path string, o Origin) {
	if c.origins == nil {
		c.origins = make(map[string]Origin)
	}
	c.origins[path] = o
}
