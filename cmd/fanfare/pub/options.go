// Package pub is the command "fanfare pub". It publishes an argument, a file or the lines of a pipe through the publish API.
package pub

import (
	"cmp"
	"time"
	"unicode/utf8"

	"fanfare/cmd/fanfare/remote"
)

// Options are the command's arguments, as kong reads them.
type Options struct {
	Key  string `arg:"" optional:"" type:"text" help:"Key to publish to."`
	Data string `arg:"" optional:"" type:"text" help:"The data. Without it, standard input is read: all of it as one event, or line by line with -l or --ndjson."`

	Server string `type:"text" placeholder:"URL" help:"The server's admin listener, or its Unix socket: unix:/PATH. Environment: FANFARE_SERVER. Default: http://127.0.0.1:8081."`
	Token  string `type:"text" placeholder:"TOKEN" help:"The publishToken of the server, a token of its publishTokens, or a JSON Web Token. Prefer the environment, FANFARE_PUBLISH_TOKEN: a flag is visible to every process on the machine."`

	TLS remote.TLS `embed:"" group:"TLS"`

	Lines  bool `short:"l" xor:"lines" help:"Publish each line of standard input as an event."`
	NDJSON bool `name:"ndjson" xor:"lines" help:"Publish each line of standard input, which must be JSON: a string, or an object with data, event, id, retry, and key or op as for /batch."`

	Event string        `short:"e" type:"text" placeholder:"NAME" help:"Name of the event."`
	ID    string        `name:"id" type:"text" placeholder:"ID" help:"Id of the event. Only for a single event."`
	Retry time.Duration `placeholder:"DURATION" help:"Reconnection delay sent with the event."`
	All   bool          `short:"a" help:"Publish to all keys that exist. The first argument is then the data."`

	Verbose bool `short:"v" xor:"print" help:"Print the id of each event and its number of subscribers."`
	JSON    bool `name:"json" xor:"print" help:"Print the server's answer for each event as a line of JSON."`

	Timeout  time.Duration `default:"30s" placeholder:"DURATION" help:"Longest time for one request. Default: ${default}."`
	Repeat   time.Duration `default:"20s" placeholder:"DURATION" help:"Keep repeating for this long an event that the server answers with 503: it has not stored or not confirmed it. The repetition has the same Idempotency-Key, so that the event is published once. Stay below duplicateWindow of the server. 0s: fail at once. Default: ${default}."`
	Wait     time.Duration `default:"0s" placeholder:"DURATION" help:"Keep trying for this long while the server cannot be reached. A line whose answer was lost is then published twice, unless the server has a backplane. Default: fail at once. An answer 429 (maxPublishRate) is waited for up to --timeout in any case: nothing was published."`
	MaxBytes int           `type:"size" default:"16MiB" placeholder:"SIZE" help:"Longest line, or longest data. Default: ${default}."`

	// HasData says that Data was given. It may be empty.
	HasData bool `kong:"-"`

	serverFrom string // the flag or variable that gave Server
}

const defaultServer = "http://127.0.0.1:8081"

// Environ sets from the environment what no flag has set.
func (o *Options) Environ(getenv func(string) string) {
	o.serverFrom = "--server"
	if o.Server == "" && getenv("FANFARE_SERVER") != "" {
		o.serverFrom = "FANFARE_SERVER"
	}
	o.Server = cmp.Or(o.Server, getenv("FANFARE_SERVER"), defaultServer)
	o.Token = cmp.Or(o.Token, getenv("FANFARE_PUBLISH_TOKEN"))
}

// check refuses invalid values and combinations. The error is a *remote.UsageError.
func (o *Options) check() error {
	streams := o.Lines || o.NDJSON
	if o.All && o.Key != "" && !o.HasData {
		o.Key, o.Data, o.HasData = "", o.Key, true
	}
	switch {
	case o.All && o.Key != "":
		return remote.Usage("--all publishes to all keys: remove the key %q", o.Key)
	case streams && o.HasData:
		return remote.Usage("-l and --ndjson read standard input: remove the data %q", o.Data)
	case o.Key == "" && !o.All && !o.NDJSON:
		return remote.Usage("no key is given: write fanfare pub KEY [DATA], or --all")
	case !utf8.ValidString(o.Key + o.Event + o.ID):
		return remote.Usage("KEY, --event and --id must be valid UTF-8")
	case !remote.ValidField("Authorization", o.Token):
		return remote.Usage("--token or FANFARE_PUBLISH_TOKEN contains a control character, such as a line end: remove it")
	case streams && o.ID != "":
		return remote.Usage("--id is for a single event: use --ndjson and write an id in each line")
	case o.Retry < 0 || o.Retry%time.Millisecond != 0:
		return remote.Usage("--retry is %s and must be a whole number of milliseconds: write 1500ms or 3s", o.Retry)
	case o.Timeout <= 0:
		return remote.Usage("--timeout is %s and must be more than 0: write 30s", o.Timeout)
	case o.Repeat < 0:
		return remote.Usage("--repeat is %s and must not be negative: write 20s, or 0s to fail at once", o.Repeat)
	case o.Wait < 0:
		return remote.Usage("--wait is %s and must not be negative: write 10s, or 0 to fail at once", o.Wait)
	case o.MaxBytes < 1:
		return remote.Usage("--max-bytes is %d and must be more than 0: write 1MiB", o.MaxBytes)
	}
	return nil
}
