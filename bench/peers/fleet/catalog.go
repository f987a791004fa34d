//go:build linux

// Package fleet compares fleets: three nodes of a server and their broker. It measures what fanload does not: events that are published
// to all nodes and received from all nodes, and the processor time and memory of nodes and broker apart.
//
//	runs, err := fleet.Measure(ctx, env, &fleet.All()[0], fleet.Scenarios(200, 1))
package fleet

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"fanfare/bench/peers/catalog"
)

// Nodes is how many nodes each fleet has.
const Nodes = 3

// Fleet is a kind of fleet: how its broker and its nodes are started, and its routes.
type Fleet struct {
	Name, Settings string
	Answer         string // what the answer to a publish means
	Broker         broker
	// Version finds the server on this machine. An error of type *catalog.Missing says how to install it.
	Version func(ctx context.Context, env *catalog.Env) (string, error)
	// Node returns the command line of a node, in a folder of all nodes. broker is HOST:PORT.
	Node func(ctx context.Context, env *catalog.Env, dir, broker string, number, stream, publish int) ([]string, error)
	// Subscribe is the path of a stream of a key; Publish is a request for an event.
	Subscribe func(key string) string
	Publish   func(key, data string) (path, contentType, body string)
	// OnePort says that both routes are on the port of streams.
	OnePort bool
	// Accepted says whether an answer with status 2xx means that the event was published. nil: it does.
	Accepted func(answer []byte) bool
}

// Versions are those of the server and of its broker.
func (f *Fleet) Versions(ctx context.Context, env *catalog.Env) (string, error) {
	server, err := f.Version(ctx, env)
	if err != nil {
		return "", err
	}
	broker, err := f.Broker.version(ctx, env)
	return server + "; " + broker, err
}

// All are the fleets that are compared.
func All() []Fleet {
	return []Fleet{
		fanfare("fanfare-nats", "backplane nats: one stream in files, one replica", "JetStream has stored the event", nats(true), func(broker string) []string {
			return []string{"--backplane", "nats", "--nats-url", "nats://" + broker}
		}),
		fanfare("fanfare-redis", "backplane redis", "Redis has the event in memory", redis, func(broker string) []string {
			return []string{"--backplane", "redis", "--redis-url", "redis://" + broker}
		}),
		centrifugo("centrifugo-redis", "Redis engine, history of 1,024 events and 5 minutes, recovery", "Redis has the event in memory", redis, map[string]any{
			"history_size": 1024, "history_ttl": "300s", "force_recovery": true,
		}, func(broker string) (string, any) {
			return "engine", map[string]any{"type": "redis", "redis": map[string]any{"address": "redis://" + broker}}
		}),
		centrifugo("centrifugo-nats", "NATS broker: no history and no recovery, because Centrifugo has none with it", "the node has sent the event to NATS, which keeps nothing",
			nats(false), nil, func(broker string) (string, any) {
				return "broker", map[string]any{"enabled": true, "type": "nats", "nats": map[string]any{"url": "nats://" + broker}}
			}),
		nchan(),
	}
}

// broker is what the nodes of a fleet have in common.
type broker struct {
	command func(ctx context.Context, env *catalog.Env, dir string, port int) ([]string, error)
	version func(ctx context.Context, env *catalog.Env) (string, error)
}

// redis is the same for all fleets that use it.
var redis = broker{
	command: func(_ context.Context, _ *catalog.Env, dir string, port int) ([]string, error) {
		return []string{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "yes", "--loglevel", "warning"}, nil
	},
	version: func(ctx context.Context, _ *catalog.Env) (string, error) {
		text, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
		if errors.Is(err, exec.ErrNotFound) {
			return "", &catalog.Missing{What: "redis-server", Install: "apt-get install redis-server"}
		}
		_, after, _ := strings.Cut(string(text), "v=")
		version, _, _ := strings.Cut(after, " ")
		return "Redis " + version + ", append-only file synced every second", err
	},
}

// nats is the nats-server that the main module names, with JetStream or without.
func nats(jetStream bool) broker {
	return broker{
		command: func(ctx context.Context, env *catalog.Env, dir string, port int) ([]string, error) {
			path, err := inMain(ctx, env, "tool", "-n", "nats-server")
			args := []string{path, "-a", "127.0.0.1", "-p", strconv.Itoa(port)}
			if jetStream {
				args = append(args, "-js", "-sd", dir)
			}
			return args, err
		},
		version: func(ctx context.Context, env *catalog.Env) (string, error) {
			version, err := inMain(ctx, env, "list", "-m", "-f", "{{.Version}}", "github.com/nats-io/nats-server/v2")
			if jetStream {
				version += ", JetStream with its default sync interval of 2 minutes"
			}
			return "nats-server " + version, err
		},
	}
}

// inMain runs the go command in the main module.
func inMain(ctx context.Context, env *catalog.Env, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = env.Main()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

func fanfare(name, settings, answer string, b broker, flags func(broker string) []string) Fleet {
	build := func(ctx context.Context, env *catalog.Env) (string, error) {
		return env.Build(ctx, "fanfare", env.Main(), "./cmd/fanfare")
	}
	return Fleet{
		Name: name, Settings: settings + ", default configuration, log from warnings on", Answer: answer, Broker: b,
		Version: func(ctx context.Context, env *catalog.Env) (string, error) {
			bin, err := build(ctx, env)
			if err != nil {
				return "", err
			}
			text, err := exec.CommandContext(ctx, bin, "version").Output()
			return strings.TrimSpace(string(text)), err
		},
		Node: func(ctx context.Context, env *catalog.Env, _, broker string, number, stream, publish int) ([]string, error) {
			bin, err := build(ctx, env)
			return append([]string{bin, "serve", "--listen", address(stream), "--admin", address(publish), "--log-level", "warn",
				"--node-name", fmt.Sprintf("node-%d", number)}, flags(broker)...), err
		},
		Subscribe: func(key string) string { return "/stream?connectKey=" + key },
		Publish: func(key, data string) (path, contentType, body string) {
			return "/publish?key=" + key, "text/plain", data
		},
	}
}

// centrifugoVersion is the newest release of Centrifugo. It is built where it is run, so this module does not depend on it.
const centrifugoVersion = "v6.9.1"

// tokenSecret signs the tokens by which Centrifugo's streams name their channel.
const tokenSecret = "bench"

// centrifugo has a part of the configuration that names the broker, and options of all channels.
func centrifugo(name, settings, answer string, b broker, channels map[string]any, part func(broker string) (name string, config any)) Fleet {
	install := func(ctx context.Context, env *catalog.Env) (string, error) {
		return env.Install(ctx, "centrifugo", "github.com/centrifugal/centrifugo/v6@"+centrifugoVersion)
	}
	return Fleet{
		Name: name, Settings: settings + ", log of errors only", Answer: answer, Broker: b, OnePort: true,
		Version: func(ctx context.Context, env *catalog.Env) (string, error) {
			if _, err := install(ctx, env); err != nil {
				return "", &catalog.Missing{What: "Centrifugo", Install: err.Error()}
			}
			return "Centrifugo " + centrifugoVersion + ", built from its source", nil
		},
		Node: func(ctx context.Context, env *catalog.Env, dir, broker string, number, stream, _ int) ([]string, error) {
			bin, err := install(ctx, env)
			if err != nil {
				return nil, err
			}
			engine, engineConfig := part(broker)
			config, err := json.Marshal(map[string]any{
				engine:        engineConfig,
				"http_server": map[string]any{"address": "127.0.0.1", "port": strconv.Itoa(stream)},
				"node":        map[string]any{"name": fmt.Sprintf("node-%d", number)},
				"log":         map[string]any{"level": "error"},
				"http_api":    map[string]any{"insecure": true},
				"uni_sse":     map[string]any{"enabled": true},
				"client":      map[string]any{"token": map[string]any{"hmac_secret_key": tokenSecret}},
				"channel":     map[string]any{"without_namespace": channels},
			})
			if err != nil {
				return nil, err
			}
			file := filepath.Join(dir, fmt.Sprintf("centrifugo-%d.json", number))
			return []string{bin, "--config", file}, os.WriteFile(file, config, 0o600)
		},
		Subscribe: func(key string) string {
			connect, _ := json.Marshal(map[string]string{"token": token(key)}) // strings can always be encoded
			return "/connection/uni_sse?cf_connect=" + url.QueryEscape(string(connect))
		},
		Publish: func(key, data string) (path, contentType, body string) {
			return "/api/publish", "application/json", `{"channel":"` + key + `","data":` + data + `}`
		},
		Accepted: func(answer []byte) bool { return bytes.Contains(answer, []byte(`"result"`)) },
	}
}

// token is a JSON Web Token that subscribes to a channel.
func token(channel string) string {
	encode := base64.RawURLEncoding.EncodeToString
	claims, _ := json.Marshal(map[string]any{"sub": "bench", "subs": map[string]any{channel: map[string]any{}}})
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

//go:embed nchan.conf
var nchanConf string

func nchan() Fleet {
	return Fleet{
		Name: "nchan-redis", Settings: "nchan_redis_pass, mode distributed (the default), one worker in each nginx, buffer of 1,024 events and 5 minutes, no access log",
		Answer: "Redis has the event in memory", Broker: redis, OnePort: true,
		Version: func(ctx context.Context, env *catalog.Env) (string, error) {
			_, _, version, err := catalog.Nchan(ctx, env)
			return version, err
		},
		Node: func(ctx context.Context, env *catalog.Env, dir, broker string, number, stream, _ int) ([]string, error) {
			nginx, module, _, err := catalog.Nchan(ctx, env)
			if err != nil {
				return nil, err
			}
			own := filepath.Join(dir, strconv.Itoa(number))
			user := ""
			if os.Geteuid() == 0 {
				user = "user root;"
			}
			text := strings.NewReplacer("MODULE", module, "USER", user, "DIR", own, "PORT", strconv.Itoa(stream), "BROKER", broker).Replace(nchanConf)
			file := filepath.Join(own, "nginx.conf")
			if err := os.MkdirAll(own, 0o755); err != nil {
				return nil, err
			}
			return []string{nginx, "-p", own, "-e", filepath.Join(own, "error.log"), "-c", file}, os.WriteFile(file, []byte(text), 0o600)
		},
		Subscribe: func(key string) string { return "/stream?connectKey=" + key },
		Publish: func(key, data string) (path, contentType, body string) {
			return "/publish?key=" + key, "text/plain", data
		},
	}
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
