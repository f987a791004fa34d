package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSchedules(t *testing.T) {
	const file = `schedules:
  - name: tick
    every: 5s
    key: ticks
    data: tick
  - name: prices
    cron: "*/5 9-17 * * MON-FRI"
    timezone: Europe/Berlin
    immediate: true
    all: true
    url: https://prices.example/latest?a=b
    headers: {Authorization: Bearer hunter2, X-N: 5}
    payload: json
    event: price
    retry: 3s
    timeout: 2s
    maxBytes: 4KiB
    onlyChanged: true
    idle: skip
  - {name: load, every: 1m, key: load, command: [sleep, 5, "a,b"], sendLast: true}
  - name: value
    every: 1h
    key: v
    data:
      z: 1.50
      a: ["x\ty", true, ~, 12345678901234567890, 0x10]
`
	c, err := load(t, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	base := Schedule{Payload: "auto", Timeout: 10 * time.Second, MaxBytes: 256 << 10, Idle: "run"}
	tick, prices, run, value := base, base, base, base
	tick.Name, tick.Every, tick.Key, tick.Data = "tick", 5*time.Second, "ticks", `"tick"`
	prices = Schedule{Name: "prices", Cron: "*/5 9-17 * * MON-FRI", Timezone: "Europe/Berlin", Immediate: true, All: true,
		URL: "https://prices.example/latest?a=b", Headers: map[string]string{"Authorization": "Bearer hunter2", "X-N": "5"},
		Payload: "json", Event: "price", Retry: 3 * time.Second, Timeout: 2 * time.Second, MaxBytes: 4 << 10, OnlyChanged: true, Idle: "skip"}
	run.Name, run.Every, run.Key, run.Command, run.SendLast = "load", time.Minute, "load", []string{"sleep", "5", "a,b"}, true
	value.Name, value.Every, value.Key, value.Data = "value", time.Hour, "v", `{"z":1.50,"a":["x\ty",true,null,12345678901234567890,16]}`
	if want := []Schedule{tick, prices, run, value}; !reflect.DeepEqual(c.Schedules, want) {
		t.Errorf("got  %+v\nwant %+v", c.Schedules, want)
	}
	if got := string(c.Schedules[0].Data.Payload()); got != "tick" {
		t.Errorf("the payload of a text is %s", got)
	}
	if got := string(c.Schedules[3].Data.Payload()); got != string(value.Data) {
		t.Errorf("the payload of an object is %s", got)
	}

	printed := c.YAML()
	if strings.Contains(printed, "hunter2") || strings.Contains(printed, "maxBytes: 256KiB") {
		t.Errorf("printed are a secret, or a default:\n%s", printed)
	}
	again, err := load(t, printed, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	if again.Schedules[1].Headers != nil {
		t.Errorf("headers come back as %v", again.Schedules[1].Headers)
	}
	again.Schedules[1].Headers = c.Schedules[1].Headers
	if changed, _ := Diff(c, again); changed != nil {
		t.Errorf("printing changed %v:\n%s", changed, printed)
	}
}

// The messages are golden, as those of TestFileErrors.
func TestScheduleErrors(t *testing.T) {
	const ok = "every: 1s, key: k, data: x"
	for _, test := range []struct{ schedule, want string }{
		{"{every: 1s, key: k, data: x}", "fanfare.yaml:2:5: schedules[0].name: is missing: logs and metrics use it"},
		{`{name: "", ` + ok + `}`, `fanfare.yaml:2:12: schedules[0].name: "" must have 1 to 100 bytes of UTF-8 without control characters`},
		{"{name: a, " + ok + "}\n  - {name: a, " + ok + "}", `fanfare.yaml:3:12: schedules[1].name: "a" is also the name of schedules[0]: choose another`},
		{"{name: a, every: 5x, key: k, data: x}", `fanfare.yaml:2:22: schedules[0].every: "5x" is not a duration: write a number with a unit (500ms, 10s, 1m30s, 2h) or milliseconds (10000)`},
		{"{name: a, every: 10000h, key: k, data: x}", "fanfare.yaml:2:22: schedules[0].every: 10000h is out of range: 0 to 8760h"},
		{"{name: a, every: 5, key: k, data: x}", "fanfare.yaml:2:22: schedules[0].every: 5ms is less than 100ms"},
		{"{name: a, evry: 5s, key: k, data: x}", "fanfare.yaml:2:15: schedules[0].evry: unknown setting; did you mean every?"},
		{"{name: a, " + ok + ", cron: '@daily'}", `fanfare.yaml:2:49: schedules[0].cron: "@daily" cannot be combined with every (1s): remove one of them`},
		{"{name: a, cron: '* * *', key: k, data: x}", `fanfare.yaml:2:21: schedules[0].cron: "* * *" has 3 fields: write five (minute, hour, day of month, month, day of week), or six with the second in front`},
		{"{name: a, cron: '61 * * * *', key: k, data: x}", `fanfare.yaml:2:21: schedules[0].cron: "61 * * * *": syntax error in minute field: '61'`},
		{"{name: a, cron: '0 0 31 2 *', key: k, data: x}", `fanfare.yaml:2:21: schedules[0].cron: "0 0 31 2 *" never matches: there is no such day`},
		{"{name: a, cron: '@fortnightly', key: k, data: x}", `fanfare.yaml:2:21: schedules[0].cron: "@fortnightly" is unknown: write one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually`},
		{"{name: a, cron: '@daily', timezone: Berlin, key: k, data: x}", `fanfare.yaml:2:41: schedules[0].timezone: "Berlin" is not a known time zone: write one such as UTC or Europe/Berlin`},
		{"{name: a, " + ok + ", timezone: UTC}", `fanfare.yaml:2:53: schedules[0].timezone: "UTC" is only used with cron, and this schedule has every: remove it`},
		{"{name: a, every: 1s, data: x}", "fanfare.yaml:2:5: schedules[0]: needs key, or all: true"},
		{"{name: a, " + ok + ", all: true}", `fanfare.yaml:2:48: schedules[0].all: cannot be combined with key ("k"): remove one of them`},
		{"{name: a, every: 1s, all: true, data: x, sendLast: true}", "fanfare.yaml:2:56: schedules[0].sendLast: needs a key: with all, set sendLast for the keys in question (setting sendLast, or a rule of keys)"},
		{"{name: a, every: 1s, key: k}", "fanfare.yaml:2:5: schedules[0]: needs data, command or url"},
		{"{name: a, " + ok + ", url: 'http://a'}", "fanfare.yaml:2:48: schedules[0].url: cannot be combined with data: remove one of them"},
		{"{name: a, every: 1s, key: k, data: }", "fanfare.yaml:2:39: schedules[0].data: has no value: write one after the colon"},
		{"{name: a, every: 1s, key: k, data: {a: .nan}}", `fanfare.yaml:2:40: schedules[0].data: contains the number ".nan": JSON has no such value`},
		{"{name: a, every: 1s, key: k, data: {a: 1, a: 2}}", `fanfare.yaml:2:40: schedules[0].data: contains the name "a" twice`},
		{"{name: a, every: 1s, key: k, data: 5, payload: json}", "fanfare.yaml:2:40: schedules[0].data: cannot be published with payload json: body: must be a string or an object with data, event, id, retry; got a number (byte 0)"},
		{"{name: a, every: 1s, key: k, command: [date], timeout: 20s}\nbackplane: nats\nnatsURL: 'nats://h'", "fanfare.yaml:2:60: schedules[0].timeout: 20s is more than half of duplicateWindow (30s, default), in which the nodes of a fleet store one event for all: lower timeout, or raise duplicateWindow"},
		{"{name: a, every: 1s, key: k, command: [date], timeout: 15s}\nbackplane: nats\nnatsURL: 'nats://h'", ""},
		{"{name: a, every: 1s, key: k, command: date}", `fanfare.yaml:2:43: schedules[0].command: must be a list of texts, not the text "date"`},
		{"{name: a, every: 1s, key: k, command: []}", "fanfare.yaml:2:5: schedules[0]: needs data, command or url"},
		{"{name: a, every: 1s, key: k, command: ['']}", "fanfare.yaml:2:43: schedules[0].command: must begin with a program"},
		{"{name: a, every: 1s, key: k, url: 'ftp://a'}", `fanfare.yaml:2:39: schedules[0].url: "ftp://a" must begin with http:// or https:// and a host`},
		{"{name: a, every: 1s, key: k, url: 'ftp://a?token=t0ken'}", `fanfare.yaml:2:39: schedules[0].url: "ftp://a…" must begin with http:// or https:// and a host`},
		{"{name: a, every: 1s, key: k, url: 'http://u:p@a:b/'}", "fanfare.yaml:2:39: schedules[0].url: is not a valid URL: write one such as https://app.example/status"},
		{"{name: a, every: 1s, key: k, url: 'ftp://u:p@a'}", "fanfare.yaml:2:39: schedules[0].url: must not contain a user and password, which would be printed: put them into headers (Authorization)"},
		{"{name: a, every: 1s, key: k, url: 'http://u:p@a'}", "fanfare.yaml:2:39: schedules[0].url: must not contain a user and password, which would be printed: put them into headers (Authorization)"},
		{"{name: a, " + ok + ", headers: {A: b}}", "fanfare.yaml:2:52: schedules[0].headers: are only used with url: remove them, or set url"},
		{"{name: a, every: 1s, key: k, url: 'http://a', headers: {Host: b}}", "fanfare.yaml:2:61: schedules[0].headers.Host: must not be set: it follows from url"},
		{"{name: a, every: 1s, key: k, url: 'http://a', headers: {'A B': b}}", "fanfare.yaml:2:61: schedules[0].headers.A B: ' ' is not allowed in a header's name (RFC 9110 5.6.2: letters, digits and !#$%&'*+-.^_`|~)"},
		{"{name: a, " + ok + ", payload: jsn}", `fanfare.yaml:2:52: schedules[0].payload: "jsn" is not one of auto, text, json; did you mean json?`},
		{"{name: a, " + ok + ", timeout: 1ms}", "fanfare.yaml:2:52: schedules[0].timeout: 1ms is out of range: 10ms to 1h"},
		{"{name: a, " + ok + ", maxBytes: 0}", "fanfare.yaml:2:53: schedules[0].maxBytes: 0 is out of range: 1 to 1GiB"},
		{"{name: a, " + ok + `, event: "a\nb"}`, `fanfare.yaml:2:50: schedules[0].event: "a\nb" must not contain a line end or NUL`},
	} {
		_, err := load(t, "schedules:\n  - "+test.schedule+"\n", nil)
		if got := text(err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.schedule, got, test.want)
		}
	}
	if _, err := load(t, "", nil, "--schedules", "a"); text(err) != "unknown flag --schedules; schedules can be set in the file only" {
		t.Error(err)
	}
	if _, err := load(t, "", []string{"FANFARE_SCHEDULES=a"}); text(err) != "environment FANFARE_SCHEDULES: unknown variable; schedules can be set in the file only" {
		t.Error(err)
	}
}

// TestCommandInFileOfOthers: who can change the file could run programs, so a file that others can change has no commands.
func TestCommandInFileOfOthers(t *testing.T) {
	const command, data = "schedules: [{name: a, every: 1s, key: k, command: [date]}]\n", "schedules: [{name: a, every: 1s, key: k, data: 1}]\n"
	for _, test := range []struct {
		text  string
		mode  os.FileMode
		owner int
		want  string
	}{
		{command, 0o600, -1, ""},
		{command, 0o644, -1, ""},
		{command, 0o664, -1, "its mode is 0664: chmod go-w"},
		{command, 0o602, -1, "its mode is 0602: chmod go-w"},
		{command, 0o666, -1, "its mode is 0666: chmod go-w"},
		{command, 0o644, 12345, "it belongs to user 12345, and fanfare runs as user"},
		{data, 0o666, -1, ""},
		{data, 0o644, 12345, ""},
	} {
		file := writeFile(t, test.text)
		if err := os.Chmod(file, test.mode); err != nil {
			t.Fatal(err)
		}
		if test.owner >= 0 && os.Chown(file, test.owner, -1) != nil {
			continue // only root can give files away
		}
		_, err := Load([]string{"config", "check", "--config", file}, nil)
		const place = "schedules[0].command: is refused, because others can change the file and run programs as this user: "
		if got := text(err); test.want == "" && got != "" || test.want != "" && !strings.Contains(got, place+test.want) {
			t.Errorf("%q of mode %o and owner %d: %q, want %q", test.text, test.mode, test.owner, got, test.want)
		}
	}
}
