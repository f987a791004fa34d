package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// load is Load with a file of that text ("" for none).
func load(t *testing.T, file string, environ []string, args ...string) (*Config, error) {
	t.Helper()
	if file != "" {
		args = append(args, "--config", writeFile(t, file))
	}
	cmd, err := Load(args, environ)
	if cmd == nil {
		return nil, err
	}
	return cmd.Config, err
}

// writeFile makes fanfare.yaml in a directory of its own and goes there, so that messages hold the bare name.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("fanfare.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "fanfare.yaml"
}

// samples has, for each setting, a text that differs from the default and is valid together with all the others,
// and how the file says it.
var samples = map[string]struct{ text, yaml string }{
	"listen":                   {"unix:/run/fanfare/stream.sock", "unix:/run/fanfare/stream.sock"},
	"admin":                    {"unix:/run/fanfare/admin.sock", "unix:/run/fanfare/admin.sock"},
	"listenMode":               {"0666", `"0666"`},
	"listenOwner":              {"www-data:www-data", "'www-data:www-data'"},
	"adminMode":                {"600", `"600"`},
	"adminOwner":               {":admins", "':admins'"},
	"publishToken":             {"t0ken", "t0ken"},
	"publishJWT":               {"true", "true"},
	"publishTokens":            {"", "[{name: shop, token: 0123456789abcdef, keys: ['shop.*'], rights: [publish, mint], maxPublishRate: 5}]"},
	"adminOrigins":             {"https://a.example,http://b.example:81", "[https://a.example, 'http://b.example:81']"},
	"trustedProxies":           {"10.0.0.7,192.168.0.0/16", "[10.0.0.7, 192.168.0.0/16]"},
	"clientAddressField":       {"forwarded", "forwarded"},
	"proxyProtocol":            {"true", "true"},
	"page":                     {"false", "false"},
	"pprof":                    {"true", "true"},
	"tlsCert":                  {"a.pem,b.pem", "[a.pem, b.pem]"},
	"tlsKey":                   {"a.key,b.key", "[a.key, b.key]"},
	"adminTLSCert":             {"admin.pem", "admin.pem"},
	"adminTLSKey":              {"admin.key", "admin.key"},
	"adminClientCA":            {"ca.pem", "ca.pem"},
	"acmeDomains":              {"a.example,live.b.example", "[a.example, live.b.example]"},
	"acmeDirectory":            {"https://ca.internal/directory", "https://ca.internal/directory"},
	"acmeEmail":                {"ops@example.com", "ops@example.com"},
	"acmeCache":                {"/var/lib/fanfare/acme", "/var/lib/fanfare/acme"},
	"acmeCA":                   {"acme-ca.pem", "acme-ca.pem"},
	"path":                     {"/events", "/events"},
	"headers":                  {"X-A: 1", "{X-A: 1}"},
	"cacheKey":                 {"everyone", "everyone"},
	"allowedOrigins":           {"https://a.example,https://*.b.example", "[https://a.example, 'https://*.b.example']"},
	"allowCredentials":         {"true", "true"},
	"idleTimeout":              {"75s", "75s"},
	"pingInterval":             {"25000", "25000"},
	"ids":                      {"off", "off"},
	"reservedEvents":           {"refuse", "refuse"},
	"retry":                    {"3s", "3s"},
	"jwtKeys":                  {"HS256:env:APP_SECRET", "['HS256:env:APP_SECRET']"},
	"jwksURL":                  {"https://login.example/jwks.json", "https://login.example/jwks.json"},
	"jwtIssuer":                {"https://login.example", "https://login.example"},
	"jwtAudience":              {"fanfare,live", "[fanfare, live]"},
	"jwtCookie":                {"session", "session"},
	"tokenSecret":              {"0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"},
	"authCallback":             {"http://127.0.0.1:3000/may", "'http://127.0.0.1:3000/may'"},
	"anonymousKeys":            {"news,public.*", "[news, 'public.*']"},
	"maxClients":               {"7", "7"},
	"maxConnections":           {"8", "8"},
	"maxKeys":                  {"9", "9"},
	"maxSubscriberKeys":        {"5", "5"},
	"keyTotalBytes":            {"3MiB", "3MiB"},
	"maxConnectionsPerAddress": {"20", "20"},
	"maxConnectionsPerSubject": {"20", "20"},
	"maxConnectRate":           {"500", "500"},
	"maxConnectRatePerAddress": {"20", "20"},
	"maxAuthorizing":           {"100", "100"},
	"maxLife":                  {"1h", "1h0m0s"},
	"maxIdleConnections":       {"100", "100"},
	"minReadRate":              {"2kB", "2000"},
	"maxPinnedBytes":           {"8MB", "8000000"},
	"maxKeysPerConnection":     {"10", "10"},
	"maxStreamsPerConnection":  {"100", "100"},
	"http2":                    {"false", "false"},
	"maxKeyBytes":              {"2KiB", "2KiB"},
	"maxIdBytes":               {"99", "99"},
	"maxEventBytes":            {"1MiB", "1048576"},
	"maxBodyBytes":             {"8MiB", "8MiB"},
	"maxBodyTotalBytes":        {"32MiB", "32MiB"},
	"maxBatchLines":            {"500", "500"},
	"maxPublishRate":           {"100", "100"},
	"maxAdminConnections":      {"50", "50"},
	"maxHeadBytes":             {"20KiB", "20480"},
	"overLimit":                {"503", "503"},
	"history":                  {"64", "64"},
	"historyBytes":             {"32MiB", "32MiB"},
	"historyTTL":               {"1h", "1h"},
	"historyTotalBytes":        {"1GiB", "1GiB"},
	"flushInterval":            {"20ms", "20ms"},
	"slow":                     {"latest", "latest"},
	"writeTimeout":             {"11s", "11s"},
	"retryMin":                 {"2s", "2s"},
	"retryMax":                 {"4s", "4s"},
	"drainDelay":               {"1s", "1s"},
	"drainRate":                {"500", "500"},
	"drainTimeout":             {"30s", "30s"},
	"stdinStops":               {"true", "true"},
	"logLevel":                 {"debug", "debug"},
	"logFormat":                {"json", "json"},
	"accessLog":                {"true", "true"},
	"backplane":                {"embedded", "embedded"},
	"dataDir":                  {"/var/lib/fanfare", "/var/lib/fanfare"},
	"fsync":                    {"interval", "interval"},
	"retentionAge":             {"168h", "168h"},
	"retentionBytes":           {"10GiB", "10GiB"},
	"retentionPerKey":          {"1000", "1000"},
	"publishTimeout":           {"5s", "5s"},
	"duplicateWindow":          {"2m", "2m"},
	"away":                     {"queue", "queue"},
	"awayBytes":                {"8MiB", "8MiB"},
	"olderConcurrency":         {"8", "8"},
	"olderMaxEvents":           {"5000", "5000"},
	"fleetTimeout":             {"1s", "1s"},
	"fleetForgetAfter":         {"1m", "1m0s"},
	"nodeName":                 {"node-1", "node-1"},
	"readyWithoutBroker":       {"false", "false"},
	"natsURL":                  {"nats://u:p@nats.internal:4222", "'nats://u:p@nats.internal:4222'"},
	"natsCredentials":          {"fanfare.creds", "fanfare.creds"},
	"redisPrefix":              {"app:events", "'app:events'"},
	"redisPartitions":          {"2", "2"},
	"maxIdempotencyKeys":       {"500", "500"},
	"maxRewindEvents":          {"700", "700"},
	"maxOlderBytes":            {"8MiB", "8MiB"},
	"interest":                 {"keys", "keys"},
	"natsSubjects":             {"news,app.*.> -> {1}/{2}", "[news, 'app.*.> -> {1}/{2}']"},
	"natsPayload":              {"json", "json"},
	"natsDomain":               {"hub", "hub"},
	"natsStream":               {"events", "events"},
	"natsReplicas":             {"3", "3"},
	"natsPartitions":           {"4", "4"},
	"redisURL":                 {"redis://:p@redis.internal/1", "'redis://:p@redis.internal/1'"},
	"redisChannels":            {"news,ticker.*", "[news, 'ticker.*']"},
	"redisStreams":             {"orders", "[orders]"},
	"redisKeys":                {"app:* -> *,a -> b", "['app:* -> *', 'a -> b']"},
	"redisPayload":             {"json", "json"},
	"redisTimeout":             {"2s", "2s"},
	"redisMaxStreams":          {"12", "12"},
	"keys":                     {"", "[{match: 'a*', history: 4}]"},
	"sendLast":                 {"true", "true"},
	"schedules":                {"", "[{name: a, every: 5s, key: k, data: {b: [1, x]}}]"},
}

// companions are the settings without which others are refused, and their flags. Several are separated by spaces.
var companions = map[string]struct{ setting, flag string }{
	"publishJWT":         {"jwtKeys", "--jwt-keys=HS256:env:APP_SECRET"},
	"listenMode":         {"listen", "--listen=unix:/run/fanfare/stream.sock"},
	"listenOwner":        {"listen", "--listen=unix:/run/fanfare/stream.sock"},
	"adminMode":          {"admin", "--admin=unix:/run/fanfare/admin.sock"},
	"adminOwner":         {"admin", "--admin=unix:/run/fanfare/admin.sock"},
	"tlsCert":            {"tlsKey", "--tls-key=a.key,b.key"},
	"tlsKey":             {"tlsCert", "--tls-cert=a.pem,b.pem"},
	"adminTLSCert":       {"adminTLSKey", "--admin-tls-key=admin.key"},
	"adminTLSKey":        {"adminTLSCert", "--admin-tls-cert=admin.pem"},
	"adminClientCA":      {"adminTLSCert adminTLSKey", "--admin-tls-cert=admin.pem --admin-tls-key=admin.key"},
	"acmeDomains":        {"acmeCache", "--acme-cache=/var/lib/fanfare/acme"},
	"jwksURL":            {"jwtIssuer", "--jwt-issuer=https://login.example"},
	"jwtIssuer":          {"jwksURL", "--jwks-url=https://login.example/jwks.json"},
	"jwtAudience":        {"jwksURL", "--jwks-url=https://login.example/jwks.json"},
	"allowCredentials":   {"allowedOrigins", "--allowed-origins=https://a.example"},
	"proxyProtocol":      {"trustedProxies", "--trusted-proxies=10.0.0.7"},
	"redisURL":           {"redisChannels", "--redis-channels=news"},
	"redisChannels":      {"redisURL", "--redis-url=redis://redis.internal"},
	"redisStreams":       {"redisURL", "--redis-url=redis://redis.internal"},
	"backplane":          {"dataDir", "--data-dir=d"},
	"dataDir":            {"backplane", "--backplane=embedded"},
	"fsync":              {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"retentionAge":       {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"retentionBytes":     {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"retentionPerKey":    {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"publishTimeout":     {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"olderConcurrency":   {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"olderMaxEvents":     {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"interest":           {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"nodeName":           {"backplane dataDir", "--backplane=embedded --data-dir=d"},
	"away":               {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"awayBytes":          {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"fleetTimeout":       {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"fleetForgetAfter":   {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"readyWithoutBroker": {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"natsCredentials":    {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"natsDomain":         {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"natsStream":         {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"natsReplicas":       {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"natsPartitions":     {"backplane natsURL", "--backplane=nats --nats-url=nats://h"},
	"natsURL":            {"backplane", "--backplane=nats"},
	"redisPrefix":        {"backplane redisURL", "--backplane=redis --redis-url=redis://h"},
	"redisPartitions":    {"backplane redisURL", "--backplane=redis --redis-url=redis://h"},
	"natsSubjects":       {"natsURL", "--nats-url=nats://h"},
}

func TestEverySettingInAllWays(t *testing.T) {
	t.Setenv("APP_SECRET", "0123456789abcdef0123456789abcdef") // of the sample of jwtKeys
	def := Defaults()
	for i := range schema {
		s := &schema[i]
		sample, ok := samples[s.Name]
		if !ok {
			t.Errorf("%s has no sample: add one", s.Name)
			continue
		}
		want := new(Config)
		*want = *def
		if s.Flag != "" {
			if err := setText(s.target(want), sample.text); err != nil {
				t.Fatal(err)
			}
		} else if s.Name == "keys" {
			n := 4
			want.Keys = []KeyRule{{Match: "a*", History: &n}}
		} else if s.Name == "publishTokens" {
			want.PublishTokens = []Publisher{{Name: "shop", Token: "0123456789abcdef", Keys: []string{"shop.*"}, Rights: []string{"publish", "mint"}, MaxPublishRate: 5}}
		} else {
			want.Schedules = []Schedule{{
				Name: "a", Every: 5 * time.Second, Key: "k", Data: `{"b":[1,"x"]}`,
				Payload: "auto", Timeout: 10 * time.Second, MaxBytes: 256 << 10, Idle: "run",
			}}
		}
		check := func(way string, layer Layer, c *Config, err error) {
			t.Helper()
			if err != nil {
				t.Errorf("%s by %s: %v", s.Name, way, err)
				return
			}
			if !reflect.DeepEqual(s.value(c), s.value(want)) || reflect.DeepEqual(s.value(c), s.value(def)) {
				t.Errorf("%s by %s: %v, want %v", s.Name, way, s.value(c), s.value(want))
			}
			if got := c.Origin(s.Name).Layer; got != layer {
				t.Errorf("%s by %s: layer %d", s.Name, way, got)
			}
			changed, _ := Diff(def, c)
			changed = slices.DeleteFunc(changed, func(name string) bool { return slices.Contains(strings.Fields(companions[s.Name].setting), name) })
			if !reflect.DeepEqual(changed, []string{s.Name}) {
				t.Errorf("%s by %s changed %v", s.Name, way, changed)
			}
		}
		var with []string
		if c, ok := companions[s.Name]; ok {
			with = strings.Fields(c.flag)
		}
		c, err := load(t, s.Name+": "+sample.yaml+"\n", nil, with...)
		check("file", LayerFile, c, err)
		c, err = load(t, `{"`+s.Name+`": `+sample.yaml+"}", nil, with...)
		check("flow file", LayerFile, c, err)
		if s.Flag == "" {
			continue
		}
		c, err = load(t, "", []string{s.Env + "=" + sample.text}, with...)
		check("environment", LayerEnv, c, err)
		c, err = load(t, "", nil, append(with, s.Flag+"="+sample.text)...)
		check("flag", LayerFlag, c, err)
		if s.typ.Kind() != reflect.Bool {
			c, err = load(t, "", nil, append([]string{"serve", s.Flag, sample.text}, with...)...)
			check("flag and argument", LayerFlag, c, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	const file = "history: 32\nmaxClients: 32\npingInterval: 32s\npage: false\nheaders: {X-F: f}\n"
	env := []string{"FANFARE_MAX_CLIENTS=64", "FANFARE_PING_INTERVAL=64s", "FANFARE_HEADERS=X-E: e", "FANFARE_SLOW=", "PATH=/bin"}
	c, err := load(t, file, env, "--ping-interval", "2m", "--page")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxKeys != 1000000 || c.History != 32 || c.MaxClients != 64 || c.PingInterval.Seconds() != 120 || !c.Page || c.Slow != "skip" {
		t.Errorf("%+v", c)
	}
	if !reflect.DeepEqual(c.Headers, map[string]string{"X-E": "e"}) {
		t.Errorf("a map is replaced whole: %v", c.Headers)
	}
	for name, want := range map[string]string{
		"maxKeys": "default", "history": "fanfare.yaml:1:10", "maxClients": "environment FANFARE_MAX_CLIENTS",
		"pingInterval": "flag --ping-interval", "page": "flag --page", "slow": "default", "headers.X-E": "environment FANFARE_HEADERS",
		"headers.X-F": "environment FANFARE_HEADERS",
	} {
		if got := c.Origin(name).String(); got != want {
			t.Errorf("%s comes from %s, want %s", name, got, want)
		}
	}
	const sources = "defaults, file fanfare.yaml (1 setting in effect), environment (FANFARE_HEADERS, FANFARE_MAX_CLIENTS), flags (--page, --ping-interval)"
	if got := c.Sources(); got != sources {
		t.Errorf("%s, want %s", got, sources)
	}
}

func TestConfigFileByEnvironmentAndFlag(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	for path, text := range map[string]string{a: "history: 16", b: "history: 8"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		env, args []string
		history   int
		file      string
	}{
		{[]string{"FANFARE_CONFIG=" + a}, nil, 16, a},
		{[]string{"FANFARE_CONFIG=" + a}, []string{"--config", b}, 8, b},
		{[]string{"FANFARE_CONFIG=" + a}, []string{"--config="}, 1024, ""},
		{[]string{"FANFARE_CONFIG="}, nil, 1024, ""},
	} {
		c, err := load(t, "", test.env, test.args...)
		if err != nil || c.History != test.history || c.File() != test.file {
			t.Errorf("%v %v: %v, %v", test.env, test.args, c, err)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	c, err := load(t, "histroy: 5\nslow: fast\n", []string{"FANFARE_LISTN=:1", "FANFARE_MAX_KEYS=many"}, "--history-ttl", "soon", "--pth=/x", "--max-clients=0")
	if c != nil {
		t.Error("a configuration in spite of errors")
	}
	want := strings.Join([]string{
		`unknown flag --pth; did you mean --path?`,
		`fanfare.yaml:1:1: histroy: unknown setting; did you mean history?`,
		`environment FANFARE_LISTN: unknown variable; did you mean FANFARE_LISTEN?`,
		`environment FANFARE_MAX_KEYS: maxKeys: "many" is not a whole number: write only digits, such as 1000`,
		`flag --history-ttl: historyTTL: "soon" is not a duration: write a number with a unit (500ms, 10s, 1m30s, 2h) or milliseconds (10000)`,
		`flag --max-clients: maxClients: 0 is out of range: 1 to 10000000`,
		`fanfare.yaml:2:7: slow: "fast" is not one of skip, latest, disconnect`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var one Problem
	if !errors.As(err, &one) || one.Text == "" {
		t.Error("errors.As finds no Problem")
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("big.yaml", make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"none.yaml": "none.yaml: cannot read the configuration file: no such file or directory",
		".":         ".: cannot read the configuration file: it is a directory: name a file in it",
		"big.yaml":  "big.yaml: cannot read the configuration file: it has 1048577 bytes, more than the limit of 1048576: is it the right file?",
	} {
		if _, err := load(t, "", nil, "--config", path); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestSecretsStayOutOfMessages(t *testing.T) {
	for _, test := range []struct {
		file string
		env  []string
		args []string
	}{
		{"publishToken: 8675309\n", nil, nil},
		{"publishToken: [8675309]\n", nil, nil},
		{"publishToken: \"867 5309\"\n", nil, nil},
		{"publishToken: \"8675309\n", nil, nil},
		{"", []string{"FANFARE_PUBLISH_TOKEN=8675309 \n"}, nil},
		{"", nil, []string{"--publish-token", "8675309\u00e9"}},
	} {
		if _, err := load(t, test.file, test.env, test.args...); err == nil || strings.Contains(err.Error(), "5309") {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
