package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "65536": 65536, "16MiB": 16 << 20, "64kB": 64000, "64KB": 64000, "2 gib": 2 << 30,
		"1GB": 1e9, "3MB": 3e6, " 5KiB ": 5 << 10, "7B": 7, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "is not a size", "MiB": "is not a size", "1.5MiB": "is not a size", "16M": "is not a size", "0x10": "is not a size",
		"010": "is not a size", "-1": "is negative", "-2MiB": "is negative", "9223372036854775807kB": "too large",
		"9223372036854775808": "too large", "1--2": "is not a size", "१MiB": "is not a size",
	} {
		if got, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestSizeStringRoundTrips(t *testing.T) {
	for size, want := range map[Size]string{0: "0", 1023: "1023", 1024: "1KiB", 64000: "64kB", 1 << 30: "1GiB", 3 << 20: "3MiB", 1e9: "1GB", 1e6: "1MB"} {
		if got := size.String(); got != want {
			t.Errorf("%d: %s, want %s", size, got, want)
		}
		if back, err := ParseSize(size.String()); err != nil || back != size {
			t.Errorf("%d -> %s -> %d, %v", size, size, back, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "10000": 10 * time.Second, "10s": 10 * time.Second, "1m30s": 90 * time.Second, " 5m ": 5 * time.Minute, "-1": -time.Millisecond, "0s": 0,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "ten", "10 s", "1.5", "1d", "9223372036854775807", "99999999999999999999", "010"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 5 * time.Minute: "5m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", time.Hour + time.Second: "1h0m1s"} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestParseHeaders(t *testing.T) {
	h, err := parseHeaders("X-A: 1\n\n X-B : b:c \r\nX-C:")
	if err != nil || len(h) != 3 || h["X-A"] != "1" || h["X-B"] != "b:c" || h["X-C"] != "" {
		t.Errorf("%v, %v", h, err)
	}
	for text, want := range map[string]string{"nope": "has no colon", "A: 1\nA: 2": "given twice"} {
		if _, err := parseHeaders(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := settingNames(schema)
	for name, want := range map[string]string{
		"ping-interval": "pingInterval", "maxclients": "maxClients", "HISTORY_TTL": "historyTTL", "max.clients": "maxClients",
		"pingIntervall": "pingInterval", "liste": "listen", "lsiten": "listen", "histroyBytes": "historyBytes", "id": "ids",
		"zzz": "", "": "", strings.Repeat("x", 5000): "", "enable": "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("%.20q: %q, want %q", name, got, want)
		}
	}
}

func TestSecretHidesItself(t *testing.T) {
	c := Defaults()
	c.PublishToken = "hunter2"
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", c.PublishToken)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", *c, *c, *c, c.PublishToken, c.PublishToken), string(j), log.String(), c.YAML()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the token shows in %s", text)
		}
	}
	if Secret("").String() != "" || string(c.PublishToken) != "hunter2" {
		t.Error("Secret changed its text")
	}
}
