package config

import "testing"

func TestEnvironment(t *testing.T) {
	for entry, want := range map[string]string{
		// What a cluster or a link injects.
		"FANFARE_SERVICE_HOST=10.0.0.1":                "",
		"FANFARE_SERVICE_PORT=8080":                    "",
		"FANFARE_SERVICE_PORT_HTTP=8080":               "",
		"FANFARE_PORT=tcp://10.0.0.1:8080":             "",
		"FANFARE_PORT_8080_TCP=tcp://10.0.0.1:8080":    "",
		"FANFARE_PORT_8080_TCP_PROTO=tcp":              "",
		"FANFARE_PORT_8080_TCP_PORT=8080":              "",
		"FANFARE_PORT_8080_TCP_ADDR=10.0.0.1":          "",
		"FANFARE_ADMIN_SERVICE_HOST=10.0.0.1":          "",
		"FANFARE_ADMIN_PORT=udp://10.0.0.1:8080":       "",
		"FANFARE_STREAM_2_PORT_8080_SCTP_ADDR=10.0.0.": "",
		"FANFARE_LONG=1":                               "", // the tests' own
		// Other programs.
		"LISTEN=:1": "", "FANFARE=1": "", "fanfare_listen=x": "", "=C:=C": "", "novalue": "",
		// Ours.
		"FANFARE_LISTEN=:1": "",
		"FANFARE_MAX_KEYS=": "",
		// Mistakes.
		"FANFARE_PORT=9000":         "environment FANFARE_PORT: unknown variable; the address is FANFARE_LISTEN (such as :9000)",
		"FANFARE_MAXCLIENTS=5":      "environment FANFARE_MAXCLIENTS: unknown variable; did you mean FANFARE_MAX_CLIENTS?",
		"FANFARE_pingInterval=5":    "environment FANFARE_pingInterval: unknown variable; did you mean FANFARE_PING_INTERVAL?",
		"FANFARE_CONFG=x":           "environment FANFARE_CONFG: unknown variable; did you mean FANFARE_CONFIG?",
		"FANFARE_COMPLETELY_ELSE=x": "environment FANFARE_COMPLETELY_ELSE: unknown variable",
		"FANFARE_EMPTY=":            "environment FANFARE_EMPTY: unknown variable",
		"FANFARE_KEYS=[]":           "environment FANFARE_KEYS: unknown variable; keys can be set in the file only",
		"FANFARE_PAGE=perhaps":      `environment FANFARE_PAGE: page: "perhaps" is not a boolean: write true or false`,
		"FANFARE_HEADERS=oops":      `environment FANFARE_HEADERS: headers: "oops" has no colon: write "Name: value", one header per line`,
		"FANFARE_DRAIN_RATE=1e3":    `environment FANFARE_DRAIN_RATE: drainRate: "1e3" is not a whole number: write only digits, such as 1000`,
		"FANFARE_HISTORY_BYTES=16M": `environment FANFARE_HISTORY_BYTES: historyBytes: "16M" is not a size: write bytes (65536) or a whole number with kB, MB, GB, KiB, MiB or GiB (64KiB)`,
	} {
		_, err := load(t, "", []string{entry})
		if got := text(err); got != want {
			t.Errorf("%s:\n got %s\nwant %s", entry, got, want)
		}
	}
}

// text is the message of an error, "" for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
