package main

import (
	"os"
	"reflect"
	"regexp"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/cluster"
	"fanfare/cmd/fanfare/config"
	"fanfare/engine"
	"fanfare/transport"
)

// readElsewhere has the settings that are in no options, and the file that reads each.
var readElsewhere = map[string]string{
	"Listen": "listen.go", "Admin": "listen.go", "ListenMode": "listen.go", "ListenOwner": "listen.go", "AdminMode": "listen.go", "AdminOwner": "listen.go",
	"MaxConnections": "serve.go", "StdinStops": "serve.go", "LogLevel": "serve.go", "LogFormat": "serve.go",
	"RedisURL": "redis.go", "RedisChannels": "redis.go", "RedisStreams": "redis.go", "RedisKeys": "redis.go",
	"RedisPayload": "redis.go", "RedisTimeout": "redis.go", "RedisMaxStreams": "redis.go",
	"Schedules": "schedules.go",
	"DataDir":   "backplane.go", "Fsync": "embedded.go", "RetentionAge": "backplane.go", "RetentionBytes": "backplane.go", "RetentionPerKey": "backplane.go",
	"NodeName": "nodename.go", "RedisPrefix": "backplane.go", "RedisPartitions": "backplane.go",
	"NATSSubjects": "nats.go", "NATSPayload": "nats.go", "NATSURL": "backplane.go", "NATSCredentials": "backplane.go", "NATSDomain": "backplane.go", "NATSStream": "backplane.go", "NATSReplicas": "backplane.go", "NATSPartitions": "backplane.go",
	"TLSCert": "certificates.go", "TLSKey": "certificates.go", "AdminTLSCert": "certificates.go", "AdminTLSKey": "certificates.go",
	"AdminClientCA": "certificates.go", "ACMEDomains": "certificates.go", "ACMEDirectory": "certificates.go", "ACMEEmail": "certificates.go",
	"ACMECache": "config/tls.go", "ACMECA": "certificates.go",
}

// made is what a configuration becomes.
type made struct {
	engine    engine.Options
	key       *engine.KeyOptions // of the key "k"
	transport transport.Options
	auth      auth.Options
	node      cluster.Options
}

func convert(t *testing.T, c *config.Config) (m made) {
	t.Helper()
	var err error
	if m.engine, err = engineOptions(c, nil); err != nil {
		t.Fatal(err)
	}
	if rule := m.engine.KeyRule; rule != nil {
		m.key, m.engine.KeyRule = rule("k"), nil
	}
	if m.transport, err = transportOptions(c, 1, nil); err != nil {
		t.Fatal(err)
	}
	m.auth, m.node = c.Authorization(), nodeOptions(c)
	return m
}

// TestEverySettingHasAnEffect: each setting, changed from its default, changes the options of the engine, of the transport
// or of the authorization, or another file reads it.
func TestEverySettingHasAnEffect(t *testing.T) {
	words := map[string]string{"IDs": "off", "ReservedEvents": "refuse", "OverLimit": "503", "Slow": "latest", "Away": "queue", "Interest": "keys", "TrustedProxies": "10.0.0.1", "ClientAddressField": "forwarded"}
	history := 8
	before := convert(t, config.Defaults())
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		if !f.IsExported() {
			continue
		}
		word := words[f.Name]
		if word == "" {
			word = "changed"
		}
		c := config.Defaults()
		switch v := reflect.ValueOf(c).Elem().FieldByIndex(f.Index).Addr().Interface().(type) {
		case *bool:
			*v = !*v
		case *int:
			*v++
		case *time.Duration:
			*v += time.Second
		case *config.Size:
			*v++
		case *string:
			*v = word
		case *config.Secret:
			*v = config.Secret(word)
		case *[]string:
			*v = []string{word}
		case *map[string]string:
			*v = map[string]string{"X-Changed": word}
		case *[]config.KeyRule:
			*v = []config.KeyRule{{Match: "k", History: &history}}
		case *[]config.Publisher:
			*v = []config.Publisher{{Name: word}}
		case *[]config.Schedule:
			*v = []config.Schedule{{Name: word}}
		default:
			t.Fatalf("%s: this test cannot change a %s: teach it", f.Name, f.Type)
		}
		changed := !reflect.DeepEqual(convert(t, c), before)
		file, elsewhere := readElsewhere[f.Name]
		switch {
		case changed && elsewhere:
			t.Errorf("%s reaches the options: take it out of readElsewhere", f.Name)
		case elsewhere:
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`\.` + f.Name + `\b`).Match(text) {
				t.Errorf("%s is not read in %s", f.Name, file)
			}
		case !changed:
			t.Errorf("%s has no effect: set the option in options.go, or name the file that reads the setting in readElsewhere", f.Name)
		}
	}
}
