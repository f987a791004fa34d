package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestFile(t *testing.T) {
	c, err := load(t, "\ufeff# a comment\r\n"+`
listen: "127.0.0.1:9000"
admin: off
pingInterval: 10000
maxEventBytes: 65536
overLimit: 503
ids: off
publishToken: "123"
adminOrigins: [https://a.example]
cacheKey: |-
  block
headers:
  X-Number: 5
  X-Bool: true
  X-Text: 'a: b'
  X-Nothing:
  X-Null: null
keys:
  - match: "ticker.*"
    history: 4
    historyBytes: 4MiB
    historyTTL: 500
    slow: latest
    maxClients: 1
  - {match: "*"}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:9000" || c.Admin != Off || c.PingInterval != 10*time.Second || c.MaxEventBytes != 65536 || c.OverLimit != "503" ||
		c.IDs != "off" || c.PublishToken != "123" || c.CacheKey != "block" || !reflect.DeepEqual(c.AdminOrigins, []string{"https://a.example"}) {
		t.Errorf("%+v", c)
	}
	if want := map[string]string{"X-Number": "5", "X-Bool": "true", "X-Text": "a: b", "X-Nothing": "", "X-Null": ""}; !reflect.DeepEqual(c.Headers, want) {
		t.Errorf("%v", c.Headers)
	}
	if len(c.Keys) != 2 || *c.Keys[0].HistoryTTL != 500*time.Millisecond || c.Keys[1].History != nil {
		t.Errorf("%+v", c.Keys)
	}
	for path, want := range map[string]string{
		"headers.X-Text": "fanfare.yaml:16:3", "keys[0].slow": "fanfare.yaml:24:11", "keys[1]": "fanfare.yaml:26:5", "keys[1].slow": "fanfare.yaml:26:5",
	} {
		if got := c.Origin(path).String(); got != want {
			t.Errorf("%s comes from %s, want %s", path, got, want)
		}
	}
}

func TestEmptyFilesAndJSON(t *testing.T) {
	for _, file := range []string{" ", "\n", "# only this\n", "---\n", "---\n# x\n", "{}", "null", "~\n", "%YAML 1.2\n---\nhistory: 1024\n"} {
		c, err := load(t, file, nil)
		if err != nil {
			t.Errorf("%q: %v", file, err)
			continue
		}
		if changed, _ := Diff(Defaults(), c); changed != nil {
			t.Errorf("%q changed %v", file, changed)
		}
	}
	c, err := load(t, "{\n\t\"history\": 16,\n\t\"page\": false,\n\t\"headers\": {\"X-A\": \"\\u00e9\\\"\"},\n\t\"keys\": [{\"match\": \"a\", \"slow\": \"skip\"}]\n}\n", nil)
	if err != nil || c.History != 16 || c.Page || c.Headers["X-A"] != "é\"" || *c.Keys[0].Slow != "skip" {
		t.Errorf("%+v, %v", c, err)
	}
}

// The messages are golden: they are what a user has in hand when the server does not start.
func TestFileErrors(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		// Unknown names.
		{"ping-interval: 5s", "fanfare.yaml:1:1: ping-interval: unknown setting; did you mean pingInterval?"},
		{"max_clients: 5", "fanfare.yaml:1:1: max_clients: unknown setting; did you mean maxClients?"},
		{"maxclients: 5", "fanfare.yaml:1:1: maxclients: unknown setting; did you mean maxClients?"},
		{"page: true\nlsiten: x", "fanfare.yaml:2:1: lsiten: unknown setting; did you mean listen?"},
		{"enable: true", "fanfare.yaml:1:1: enable: unknown setting"},
		{"config: x", "fanfare.yaml:1:1: config: unknown setting"},
		{"keys:\n  - match: a\n    hist: 5", "fanfare.yaml:3:5: keys[0].hist: unknown setting"},
		{"keys:\n  - match: a\n    history-ttl: 5", "fanfare.yaml:3:5: keys[0].history-ttl: unknown setting; did you mean historyTTL?"},
		{"keys:\n  - match: a\n    pingInterval: 5", "fanfare.yaml:3:5: keys[0].pingInterval: unknown setting"},
		// Duplicates.
		{"history: 4\npage: true\nhistory: 8", "fanfare.yaml:3:1: history: is given twice; the first is on line 1"},
		{"headers:\n  X-A: 1\n  X-A: 2", "fanfare.yaml:3:3: headers.X-A: is given twice; the first is on line 2"},
		{"keys: [{match: a, slow: skip, slow: skip}]", "fanfare.yaml:1:31: keys[0].slow: is given twice; the first is on line 1"},
		// Types.
		{"history: many", `fanfare.yaml:1:10: history: "many" is not a whole number: write only digits, such as 1000`},
		{"history: 1.5", `fanfare.yaml:1:10: history: "1.5" is not a whole number: write only digits, such as 1000`},
		{"history: 0x10", `fanfare.yaml:1:10: history: "0x10" is not a whole number: write only digits, such as 1000`},
		{"history: 010", `fanfare.yaml:1:10: history: "010" is not a whole number: write only digits, such as 1000`},
		{"history: '1024'", `fanfare.yaml:1:10: history: must be a whole number, not the text "1024": remove the quotes`},
		{"history: true", `fanfare.yaml:1:10: history: must be a whole number, not the boolean "true"`},
		{"history: [1]", "fanfare.yaml:1:10: history: must be a whole number, not a list"},
		{"history:", "fanfare.yaml:1:10: history: must be a whole number, not nothing"},
		{"history: 99999999999999999999", `fanfare.yaml:1:10: history: "99999999999999999999" is too large for a number`},
		{"page: yes", `fanfare.yaml:1:7: page: must be true or false, not the text "yes"`},
		{"page: 1", `fanfare.yaml:1:7: page: must be true or false, not the number "1"`},
		{"listen: 8080", `fanfare.yaml:1:9: listen: must be a text, not the number "8080": put it in quotes`},
		{"path: {a: b}", "fanfare.yaml:1:7: path: must be a text, not a mapping"},
		{"publishToken: 5", "fanfare.yaml:1:15: publishToken: must be a text, not the number: put it in quotes"},
		{"pingInterval: 1.5", `fanfare.yaml:1:15: pingInterval: "1.5" is not a duration: write a number with a unit (500ms, 10s, 1m30s, 2h) or milliseconds (10000)`},
		{"pingInterval: true", `fanfare.yaml:1:15: pingInterval: must be a duration (10s) or milliseconds (10000), not the boolean "true"`},
		{"historyBytes: []", "fanfare.yaml:1:15: historyBytes: must be a size (64KiB) or bytes (65536), not a list"},
		{"adminOrigins: {a: b}", "fanfare.yaml:1:15: adminOrigins: must be a list of texts, not a mapping"},
		{"adminOrigins: [5]", `fanfare.yaml:1:15: adminOrigins: must be a list of texts; it contains the number "5"`},
		{"headers: [X-A]", "fanfare.yaml:1:10: headers: must be a mapping of header names to values, not a list"},
		{"headers:\n  X-A: [1]", "fanfare.yaml:2:8: headers.X-A: must be a text, not a list"},
		{"headers: {5: x}", "fanfare.yaml:1:11: headers: a name must be plain text; merge keys, anchors and complex keys are not supported"},
		{"keys: {match: a}", "fanfare.yaml:1:7: keys: must be a list of rules (- match: PATTERN), not a mapping"},
		{"keys: [ticker]", `fanfare.yaml:1:8: keys[0]: must be a mapping of settings (name: value), not the text "ticker"`},
		{"keys:\n  - history: 5", "fanfare.yaml:2:5: keys[0].match: is missing: each rule needs the pattern of its keys"},
		{"keys:\n  - match: 5", `fanfare.yaml:2:12: keys[0].match: must be a text, not the number "5": put it in quotes`},
		{"keys:\n  - match: a\n    history: x", `fanfare.yaml:3:14: keys[0].history: "x" is not a whole number: write only digits, such as 1000`},
		// Documents.
		{"- a", "fanfare.yaml:1:1: the file must be a mapping of settings (name: value), not a list"},
		{"text", `fanfare.yaml:1:1: the file must be a mapping of settings (name: value), not the text "text"`},
		{"history: 4\n---\nhistory: 8", "fanfare.yaml:3:1: a second document begins here; the file must have only one"},
		{"history: &a 4", "fanfare.yaml:1:10: history: must be a whole number, not an anchor or alias, which is not supported"},
		{"history: !!int 4", "fanfare.yaml:1:10: history: must be a whole number, not a tag, which is not supported"},
		{"<<: {history: 4}", "fanfare.yaml:1:1: a name must be plain text; merge keys, anchors and complex keys are not supported"},
		{"a: [", "fanfare.yaml:1:4: syntax error: sequence end token ']' not found"},
		{"headers:\n  Access-Control-Allow-Origin: *\n", "fanfare.yaml:2:32: syntax error: undefined alias name"},
		{"# é\nlisten: \xff", "fanfare.yaml:2:9: the file is not valid UTF-8 at this place"},
		{"listen: \x00", "fanfare.yaml:1:9: control character U+0000 is not allowed"},
		{strings.Repeat("[", maxBrackets+1), "fanfare.yaml:1:10001: more than 10000 opening brackets"},
		{"keys:\n" + strings.Repeat("- ", 101) + "a", "fanfare.yaml:2:201: more than 200 characters of indentation"},
	} {
		_, err := load(t, test.file, nil)
		if got := text(err); got != test.want {
			t.Errorf("%.60q:\n got %s\nwant %s", test.file, got, test.want)
		}
	}
}

func TestDeepNestingIsSurvived(t *testing.T) {
	for _, unit := range []string{"- ", "? ", "[", "{a: ", "!a ", "&a ", "a: - ", "a:\n "} {
		decodeFile(Defaults(), "f", []byte(strings.Repeat(unit, 5000)))
	}
}

// FuzzFile: no text makes the loader panic, every problem is one line with a place in the file, and what loads and
// is valid prints as a file that loads to the same.
func FuzzFile(f *testing.F) {
	for name, s := range samples {
		f.Add(name + ": " + s.yaml + "\n")
	}
	for _, seed := range []string{
		"", "{}", "- a", "a: [", "history: &a 4\nmaxKeys: *a", "<<: {a: b}", "? a\n: b\n", "keys:\n- match: a\n  history: 5\n- {match: '['}\n",
		"headers:\n  X: |\n    y\n  Z: >-\n    a\n", "---\n---\n", "%YAML 1.2\n", "listen: !!str x", "\ufeffhistory: 4", "{\n\t\"history\": 4\n}",
		"schedules:\n- {name: a, cron: '@daily', all: true, url: 'http://a', headers: {A: b}}\n- {name: b, every: 1s, key: k, command: [a, 5], data: 0x1F}\n",
		"schedules: [{name: c, every: 1s, key: k, payload: json, data: {a: [~, .inf, 1e3, 'x\\x7f'], b: {}}}]",
		"pingInterval: 1e3\nretry: -1\n", "a:\n - b:\n   - c: {d: [e, {f: g}]}\n", "\"\\ud83d\\ude00\": 'x''y'", "path: \"/a\\u0000\"", "history: 4 # c\n\n\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		c := Defaults()
		problems := decodeFile(c, "f.yaml", []byte(file))
		for _, p := range append(problems, c.validate()...) {
			if strings.ContainsAny(p.Error(), "\r\n") || p.Text == "" {
				t.Errorf("not a line: %q", p.Error())
			}
		}
		if len(problems) > 0 || c.Validate() != nil {
			return
		}
		again := Defaults()
		again.PublishToken, again.TokenSecret = c.PublishToken, c.TokenSecret
		if problems := decodeFile(again, "again.yaml", []byte(c.YAML())); len(problems) > 0 {
			t.Fatalf("%v in\n%s", problems, c.YAML())
		}
		for i := range c.Schedules {
			c.Schedules[i].Headers = nil // not printed
		}
		for i := range c.PublishTokens {
			c.PublishTokens[i].Token = "" // likewise
		}
		if changed, _ := Diff(c, again); changed != nil {
			t.Errorf("%v changed by printing:\n%s", changed, c.YAML())
		}
	})
}
