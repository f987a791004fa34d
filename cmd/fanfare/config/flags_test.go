package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommands(t *testing.T) {
	for line, want := range map[string]string{
		"": "serve", "serve": "serve", "--listen :9000": "serve", "serve --listen :9000": "serve",
		"config check": "config check", "config check --no-page": "config check", "config print --listen=:1": "config print", "healthcheck --admin=off": "healthcheck",
		"config docs": "config docs", "version": "version", "--help": "help", "-h": "help", "config --help": "help",
		"config check --help": "help", "--listen :9 --help": "help", "--nonsense --help": "help",
	} {
		cmd, err := Load(strings.Fields(line), nil)
		if err != nil || cmd.Name != want {
			t.Errorf("%q: %+v, %v; want %s", line, cmd, err, want)
			continue
		}
		switch want {
		case "serve", "config check", "config print", "healthcheck":
			if cmd.Config == nil {
				t.Errorf("%q has no configuration", line)
			}
		default:
			if cmd.Config != nil {
				t.Errorf("%q has a configuration", line)
			}
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for line, want := range map[string]string{
		"--histori 5":                  "unknown flag --histori; did you mean --history?",
		"--maxClients=5":               "unknown flag --maxClients; did you mean --max-clients?",
		"--ping_interval 5":            "unknown flag --ping_interval; did you mean --ping-interval?",
		"-listen :9":                   "unknown flag -listen; did you mean --listen?",
		"--no-pge":                     "unknown flag --no-pge; did you mean --no-page?",
		"--no-listen":                  "unknown flag --no-listen; did you mean --listen?",
		"--keys []":                    "unknown flag --keys; keys can be set in the file only",
		"--qwertz":                     "unknown flag --qwertz",
		"--page false":                 "unexpected argument false: a value of --page needs an equals sign, --page=false",
		"--listen=:1 true":             "unexpected argument true",
		"--histori config check":       "unknown flag --histori; did you mean --history?",
		"--a-b-c 1 --pth /x -listn :1": "unknown flag --a-b-c\nunknown flag --pth; did you mean --path?\nunknown flag -listn; did you mean --listen?",
		"-x":                           `unknown flag -x, did you mean "-h"?`,
		"--history":                    "--history: needs a value",
		"--history -5":                 `--history: needs a value but got "-5" (short flag); perhaps try --history="-5"?`,
		"--history=-5":                 "flag --history: history: -5 is out of range: 2 to 1048576",
		"--page=maybe":                 `flag --page: page: "maybe" is not a boolean: write true or false`,
		"serv":                         `unknown command "serv"; did you mean serve?`,
		"config chek":                  `unexpected argument chek, did you mean "check"?`,
		"config":                       `fanfare config needs a command: one of "check", "print"`,
		"config check extra":           "unexpected argument extra",
		"version --listen :9":          "unknown flag --listen",
		"--listen :9 config check":     `flag --listen applies to the default command "serve", not "config"`,
	} {
		_, err := Load(strings.Fields(line), nil)
		if got := text(err); got != want {
			t.Errorf("%q:\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestFlagForms(t *testing.T) {
	for _, test := range []struct {
		args []string
		is   func(*Config) bool
	}{
		{[]string{"--no-page"}, func(c *Config) bool { return !c.Page }},
		{[]string{"--page=false"}, func(c *Config) bool { return !c.Page }},
		{[]string{"--no-page=false"}, func(c *Config) bool { return c.Page }},
		{[]string{"--pprof"}, func(c *Config) bool { return c.PProf }},
		{[]string{"--pprof=on", "--page=0"}, func(c *Config) bool { return c.PProf && !c.Page }},
		{[]string{"--history", "4", "--history", "8"}, func(c *Config) bool { return c.History == 8 }},
		{[]string{"--admin", "off"}, func(c *Config) bool { return c.Admin == Off }},
		{[]string{"--headers", "X-A: a,b;c", "--headers", "X-B:"}, func(c *Config) bool {
			return reflect.DeepEqual(c.Headers, map[string]string{"X-A": "a,b;c", "X-B": ""})
		}},
		{[]string{"--admin-origins", "https://a.example", "--admin-origins=https://b.example,https://c.example"}, func(c *Config) bool {
			return reflect.DeepEqual(c.AdminOrigins, []string{"https://a.example", "https://b.example", "https://c.example"})
		}},
		{[]string{"--publish-token="}, func(c *Config) bool { return c.PublishToken == "" && c.Origin("publishToken").Layer == LayerFlag }},
	} {
		c, err := load(t, "", nil, test.args...)
		if err != nil || !test.is(c) {
			t.Errorf("%q: %+v, %v", test.args, c, err)
		}
	}
}

func TestHelp(t *testing.T) {
	root, err := Load([]string{"--help"}, []string{"FANFARE_NONSENSE=1"})
	if err != nil {
		t.Fatal(err)
	}
	serve, err := Load([]string{"serve", "--help"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range schema {
		s := &schema[i]
		for _, help := range []string{root.Help, serve.Help} {
			flag := strings.TrimPrefix(s.Flag, "--")
			if s.Flag != "" && (strings.Count(help, "--"+flag+"=") != 1) == (strings.Count(help, "--[no-]"+flag+" ") != 1) {
				t.Errorf("the help shows %s not once:\n%s", s.Flag, help)
			}
			if s.Flag != "" && strings.Count(help, "\n"+s.Group+":\n") != 1 {
				t.Errorf("the help has not one group %q", s.Group)
			}
		}
	}
	for _, word := range []string{"config check", "config print", "version", "FANFARE_CONFIG", "--config=FILE", "Default: 10s."} {
		if !strings.Contains(root.Help, word) {
			t.Errorf("the help has no %q", word)
		}
	}
	if strings.Contains(root.Help, "config docs") {
		t.Error("the help shows a command for developers")
	}
	for line := range strings.Lines(root.Help) {
		if len(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("wider than a terminal: %s", line)
		}
	}
}

func TestPubAndSub(t *testing.T) {
	environ := []string{"FANFARE_SERVER=http://env:1", "FANFARE_STREAM=http://env:2/s", "FANFARE_PUBLISH_TOKEN=env"}
	cmd, err := Load([]string{"pub", "k", "", "--event=-x", "--token=arg", "--retry", "3s"}, environ)
	if err != nil || cmd.Name != "pub" || cmd.Config != nil || cmd.Sub != nil {
		t.Fatalf("%+v, %v", cmd, err)
	}
	if o := cmd.Pub; o.Key != "k" || o.Data != "" || !o.HasData || o.Event != "-x" || o.Token != "arg" || o.Server != "http://env:1" || o.Retry != 3*time.Second || o.Timeout != 30*time.Second {
		t.Errorf("%+v", o)
	}
	cmd, err = Load([]string{"pub", "k\xff", "-l", "--server", "http://arg"}, nil)
	if err != nil || cmd.Pub.HasData || cmd.Pub.Key != "k\xff" || !cmd.Pub.Lines || cmd.Pub.Server != "http://arg" || cmd.Pub.Token != "" {
		t.Errorf("%+v, %v", cmd.Pub, err)
	}
	cmd, err = Load([]string{"sub", "a", "b\xff", "-n", "3", "-H", "A: b, c", "-H", "D: e", "--no-reconnect"}, environ)
	if err != nil || cmd.Name != "sub" || cmd.Pub != nil {
		t.Fatalf("%+v, %v", cmd, err)
	}
	if o := cmd.Sub; !slices.Equal(o.Keys, []string{"a", "b\xff"}) || o.Count != 3 || !slices.Equal(o.Headers, []string{"A: b, c", "D: e"}) || o.Reconnect || o.URL != "http://env:2/s" || o.Color != "auto" {
		t.Errorf("%+v", o)
	}
	cmd, err = Load([]string{"sub"}, nil)
	if err != nil || len(cmd.Sub.Keys) != 0 || !cmd.Sub.Reconnect || cmd.Sub.URL != "http://127.0.0.1:8080/stream" {
		t.Errorf("%+v, %v", cmd.Sub, err)
	}
	for args, want := range map[string]string{
		"sub -n x":           "--count: \"x\" is not a whole number: write only digits, such as 1000",
		"pub a b c":          "unexpected argument c",
		"sub --raw --json":   "--raw and --json can't be used together",
		"pub k --retry 5":    "--retry: \"5\" has no unit: write 5s, or 5ms for milliseconds",
		"pub --url x k":      "unknown flag --url; use --server with fanfare pub",
		"sub --server x k":   "unknown flag --server; use --url with fanfare sub",
		"pub --count 1 k":    "unknown flag --count",
		"sub --colour never": "unknown flag --colour; did you mean --color?",
	} {
		if _, err := Load(strings.Fields(args), nil); err == nil || text(err) != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	for _, args := range []string{"pub k x", "sub k"} {
		_, err := Load(strings.Fields(args), []string{"FANFARE_SEVER=http://a:1", "FANFARE_LISTEN=:1"})
		if err == nil || text(err) != "environment FANFARE_SEVER: unknown variable; did you mean FANFARE_SERVER?" {
			t.Errorf("%s: %v", args, err)
		}
	}
	// The server passes over the variables of the other commands.
	if _, err := Load(nil, environ[:2]); err != nil {
		t.Error(err)
	}
}
