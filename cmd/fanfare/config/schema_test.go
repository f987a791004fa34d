package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestSchemaIsComplete(t *testing.T) {
	seen := map[string]bool{}
	exported := 0
	for f := range reflect.TypeFor[Config]().Fields() {
		if f.IsExported() {
			exported++
		}
	}
	if len(schema) != exported {
		t.Errorf("%d settings for %d fields", len(schema), exported)
	}
	for i := range schema {
		s := &schema[i]
		if s.Name == "" || s.Group == "" || s.Help == "" || s.Form == "" {
			t.Errorf("%+v lacks a tag", s)
		}
		if !strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s: the help is no sentence: %q", s.Name, s.Help)
		}
		for _, name := range []string{s.Name, s.Flag, s.Env} {
			if name != "" && seen[name] {
				t.Errorf("%s: name taken twice", name)
			}
			seen[name] = true
		}
		if serviceLink.MatchString(s.Env) || portLink.MatchString(s.Env+"=x") {
			t.Errorf("%s looks like a service link and would be ignored when mistyped", s.Env)
		}
		switch s.value(new(Config)).(type) {
		case int, Size:
			if s.Min == "" || s.Max == "" {
				t.Errorf("%s has no range", s.Name)
			}
		}
		if s.Flag == "" && s.Fields == nil {
			t.Errorf("%s has no flag", s.Name)
		}
		for j := range s.Fields {
			f := &s.Fields[j]
			if f.Name == "" || f.Form == "" || f.Help == "" {
				t.Errorf("%s.%s lacks a tag, and there is no setting of its name to take it from", s.Name, f.Name)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string][2]string{
		"listen":               {"--listen", "FANFARE_LISTEN"},
		"historyTTL":           {"--history-ttl", "FANFARE_HISTORY_TTL"},
		"maxKeysPerConnection": {"--max-keys-per-connection", "FANFARE_MAX_KEYS_PER_CONNECTION"},
		"ids":                  {"--ids", "FANFARE_IDS"},
		"redisURL":             {"--redis-url", "FANFARE_REDIS_URL"},
	} {
		if s := byName[name]; s.Flag != want[0] || s.Env != want[1] {
			t.Errorf("%s: %s %s", name, s.Flag, s.Env)
		}
	}
}

func TestDefaultsAreValidAndAsDocumented(t *testing.T) {
	c := Defaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Listen != ":8080" || c.Admin != "127.0.0.1:8081" || c.Path != "/stream" || c.MaxClients != 10000 ||
		c.PingInterval.Seconds() != 10 || c.CacheKey != "@sse/count" || c.HistoryTotalBytes != 256<<20 || !c.Page || c.PProf {
		t.Errorf("%+v", c)
	}
	for i := range schema {
		s := &schema[i]
		if got := c.Origin(s.Name); got != (Origin{}) {
			t.Errorf("%s comes from %v", s.Name, got)
		}
	}
}

func TestReloadTags(t *testing.T) {
	var fixed []string
	for _, s := range Schema() {
		if !s.Reload {
			fixed = append(fixed, s.Name)
		}
	}
	want := []string{"listen", "listenMode", "listenOwner", "admin", "adminMode", "adminOwner", "cacheKey", "idleTimeout", "maxConnections", "maxStreamsPerConnection", "maxHeadBytes", "stdinStops", "logFormat",
		"backplane", "dataDir", "fsync", "retentionAge", "retentionBytes", "retentionPerKey", "publishTimeout", "duplicateWindow", "away", "awayBytes", "olderConcurrency", "olderMaxEvents", "fleetTimeout", "fleetForgetAfter", "nodeName",
		"natsURL", "natsCredentials", "natsDomain", "natsStream", "natsReplicas", "natsPartitions", "natsSubjects", "natsPayload",
		"redisURL", "redisChannels", "redisStreams", "redisKeys", "redisPayload", "redisTimeout", "redisMaxStreams", "redisPrefix", "redisPartitions"}
	if !reflect.DeepEqual(fixed, want) {
		t.Errorf("need a restart: %v, want %v", fixed, want)
	}
}
