// Package pub is the command "fanfare pub": it publishes an argument, a file or the lines of a pipe by the publish API.
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
	Data string `arg:"" optional:"" type:"text" help:"The data. Without it, standard input is read: the whole of it as one event, or line by line with -l or --ndjson."`

	Server string `type:"text" placeholder:"URL" help:"The server's admin listener. Environment: FANFARE_SERVER. Default: http://127.0.0.1:8081."`
	Token  string `type:"text" placeholder:"TOKEN" help:"The server's publishToken. Better by the environment, FANFARE_PUBLISH_TOKEN: every process of the machine can see a flag."`

	Lines  bool `short:"l" xor:"lines" help:"Publish each line of standard input as an event."`
	NDJSON bool `name:"ndjson" xor:"lines" help:"Publish each line of standard input as the JSON that it is: a string, or an object with data, event, id, retry, and key or op as for /batch."`

	Event string        `short:"e" type:"text" placeholder:"NAME" help:"Name of the event."`
	ID    string        `name:"id" type:"text" placeholder:"ID" help:"Id of the event, for a single one."`
	Retry time.Duration `placeholder:"DURATION" help:"Reconnection delay told with the event."`
	All   bool          `short:"a" help:"Publish to all keys that exist; the first argument is then the data."`

	Verbose bool `short:"v" xor:"print" help:"Print the id of each event, and how many subscribers it was for."`
	JSON    bool `name:"json" xor:"print" help:"Print the server's answer for each event as a line of JSON."`

	Timeout  time.Duration `default:"30s" placeholder:"DURATION" help:"Longest time for one request. Default: ${default}."`
	Wait     time.Duration `default:"0s" placeholder:"DURATION" help:"Try for so long again while the server can't be reached. An event whose answer was lost is then published twice. Default: fail at once."`
	MaxBytes int           `type:"size" default:"16MiB" placeholder:"SIZE" help:"Longest line, or data. Default: ${default}."`

	// HasData is set if Data was given, which may be empty.
	HasData bool `kong:"-"`

	serverFrom string // the flag or variable that gave Server
}

const defaultServer = "http://127.0.0.1:8081"

// Environ takes from the environment what no flag has given.
func (o *Options) Environ(getenv func(string) string) {
	o.serverFrom = "--server"
	if o.Server == "" && getenv("FANFARE_SERVER") != "" {
		o.serverFrom = "FANFARE_SERVER"
	}
	o.Server = cmp.Or(o.Server, getenv("FANFARE_SERVER"), defaultServer)
	o.Token = cmp.Or(o.Token, getenv("FANFARE_PUBLISH_TOKEN"))
}

// check refuses what doesn't go together. The error is a *remote.UsageError.
func (o *Options) check() error {
	streams := o.Lines || o.NDJSON
	if o.All && o.Key != "" && !o.HasData {
		o.Key, o.Data, o.HasData = "", o.Key, true
	}
	switch {
	case o.All && o.Key != "":
		return remote.Usage("--all goes to all keys: leave out the key %q", o.Key)
	case streams && o.HasData:
		return remote.Usage("-l and --ndjson read standard input: leave out the data %q", o.Data)
	case o.Key == "" && !o.All && !o.NDJSON:
		return remote.Usage("to which key? fanfare pub KEY [DATA], or --all")
	case !utf8.ValidString(o.Key + o.Event + o.ID):
		return remote.Usage("KEY, --event and --id must be valid UTF-8")
	case !remote.ValidField("Authorization", o.Token):
		return remote.Usage("--token or FANFARE_PUBLISH_TOKEN holds a control character, such as the end of a line: leave it out")
	case streams && o.ID != "":
		return remote.Usage("--id is for a single event: with --ndjson each line can have its own")
	case o.Retry < 0 || o.Retry%time.Millisecond != 0:
		return remote.Usage("--retry is %s and must be a whole number of milliseconds, such as 1500ms or 3s", o.Retry)
	case o.Timeout <= 0:
		return remote.Usage("--timeout is %s and must be more than 0: write 30s", o.Timeout)
	case o.Wait < 0:
		return remote.Usage("--wait is %s and must not be negative: write 10s, or 0 to fail at once", o.Wait)
	case o.MaxBytes < 1:
		return remote.Usage("--max-bytes is %d and must be more than 0: write 1MiB", o.MaxBytes)
	}
	return nil
}
