//go:build linux

// Package fleet compares fleets: three nodes of a server and their broker. It measures what launch and fanload do not: subscribers on all
// nodes, events published to each of them in turn, and the processor time of nodes and broker apart.
package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
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

// centrifugo is its newest release. It is built where it is run, so that this module does not depend on it.
const centrifugo = "github.com/centrifugal/centrifugo/v6@v6.9.1"

// Fleet is a kind of fleet: how its broker and its nodes are started, and its routes.
type Fleet struct {
	Name, Settings string
	Stored         string // what an answer to a publish means
	// Broker and Node return the command lines, in a folder of their own. addr of the broker is HOST:PORT.
	Broker func(ctx context.Context, env *catalog.Env, dir string, port int) ([]string, error)
	Node   func(ctx context.Context, env *catalog.Env, dir, broker string, number, stream, publish int) ([]string, error)
	// Subscribe is the path of a stream of a key; Publish is a request for an event.
	Subscribe func(key string) string
	Publish   func(key, data string) (path, contentType, body string)
	// OnePort says that both routes are on the port of streams.
	OnePort bool
	// Accepted says whether an answer with status 200 or 201 means that the event was published. nil: it does.
	Accepted func(answer []byte) bool
}

// All are the fleets that are compared.
func All() []Fleet {
	return []Fleet{
		fanfare("fanfare-nats", "NATS JetStream, one server, one replica, files", "stored in JetStream", nats(true), func(broker string) []string {
			return []string{"--backplane", "nats", "--nats-url", "nats://" + broker}
		}),
		fanfare("fanfare-redis", "Redis, appendonly with fsync every second", "in Redis' memory", redis, func(broker string) []string {
			return []string{"--backplane", "redis", "--redis-url", "redis://" + broker}
		}),
		centrifugoFleet("centrifugo-redis", "Redis engine, history of 1,024 events and 5 minutes", "in Redis' memory", redis, func(broker string) map[string]any {
			return map[string]any{"engine": map[string]any{"type": "redis", "redis": map[string]any{"address": "redis://" + broker}}}
		}),
		centrifugoFleet("centrifugo-nats", "NATS broker, which keeps no history", "sent to NATS", nats(false), func(broker string) map[string]any {
			return map[string]any{"broker": map[string]any{"enabled": true, "type": "nats", "nats": map[string]any{"url": "nats://" + broker}}}
		}),
		nchanFleet(),
	}
}

// redis is the same for all fleets that use it.
func redis(_ context.Context, _ *catalog.Env, dir string, port int) ([]string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, &catalog.Missing{What: "redis-server", Install: "apt-get install redis-server"}
	}
	return []string{path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "yes", "--loglevel", "warning"}, nil
}

// nats is the nats-server of the main module, with JetStream or without.
func nats(jetStream bool) func(context.Context, *catalog.Env, string, int) ([]string, error) {
	return func(ctx context.Context, env *catalog.Env, dir string, port int) ([]string, error) {
		cmd := exec.CommandContext(ctx, "go", "tool", "-n", "nats-server")
		cmd.Dir = env.Main()
		path, err := cmd.Output()
		args := []string{strings.TrimSpace(string(path)), "-a", "127.0.0.1", "-p", strconv.Itoa(port)}
		if jetStream {
			args = append(args, "-js", "-sd", dir)
		}
		return args, err
	}
}

func fanfare(name, settings, stored string, broker func(context.Context, *catalog.Env, string, int) ([]string, error), flags func(broker string) []string) Fleet {
	return Fleet{
		Name: name, Settings: settings, Stored: stored, Broker: broker,
		Node: func(ctx context.Context, env *catalog.Env, _, broker string, number, stream, publish int) ([]string, error) {
			bin, err := env.Build(ctx, "fanfare", env.Main(), "./cmd/fanfare")
			return append([]string{bin, "serve", "--listen", address(stream), "--admin", address(publish), "--max-clients", "20000", "--log-level", "warn",
				"--node-name", fmt.Sprintf("node-%d", number)}, flags(broker)...), err
		},
		Subscribe: func(key string) string { return "/stream?connectKey=" + key },
		Publish: func(key, data string) (path, contentType, body string) {
			return "/publish?key=" + key, "text/plain", data
		},
	}
}

// tokenSecret signs the tokens by which Centrifugo's streams name their channel.
const tokenSecret = "bench"

func centrifugoFleet(name, settings, stored string, broker func(context.Context, *catalog.Env, string, int) ([]string, error), engine func(broker string) map[string]any) Fleet {
	return Fleet{
		Name: name, Settings: settings, Stored: stored, Broker: broker, OnePort: true,
		Node: func(ctx context.Context, env *catalog.Env, dir, broker string, number, stream, _ int) ([]string, error) {
			bin := filepath.Join(env.Bin, "centrifugo")
			if _, err := os.Stat(bin); err != nil {
				install := exec.CommandContext(ctx, "go", "install", centrifugo)
				install.Env = append(os.Environ(), "GOBIN="+env.Bin, "GOFLAGS=")
				install.Dir = env.Bin // outside of this module
				if out, err := install.CombinedOutput(); err != nil {
					return nil, &catalog.Missing{What: "centrifugo", Install: fmt.Sprintf("go install %s fails: %s", centrifugo, out)}
				}
			}
			config := engine(broker)
			config["http_server"] = map[string]any{"address": "127.0.0.1", "port": strconv.Itoa(stream)}
			config["node"] = map[string]any{"name": fmt.Sprintf("node-%d", number)}
			config["log"] = map[string]any{"level": "error"}
			config["http_api"] = map[string]any{"insecure": true}
			config["uni_sse"] = map[string]any{"enabled": true}
			config["client"] = map[string]any{"token": map[string]any{"hmac_secret_key": tokenSecret}}
			if name == "centrifugo-redis" {
				config["channel"] = map[string]any{"without_namespace": map[string]any{"history_size": 1024, "history_ttl": "300s"}}
			}
			text, err := json.Marshal(config)
			if err != nil {
				return nil, err
			}
			file := filepath.Join(dir, fmt.Sprintf("centrifugo-%d.json", number))
			return []string{bin, "--config", file}, os.WriteFile(file, text, 0o600)
		},
		Subscribe: func(key string) string {
			connect, _ := json.Marshal(map[string]string{"token": token(key)})
			return "/connection/uni_sse?cf_connect=" + url.QueryEscape(string(connect))
		},
		Publish: func(key, data string) (path, contentType, body string) {
			return "/api/publish", "application/json", `{"channel":"` + key + `","data":` + data + `}`
		},
		Accepted: func(answer []byte) bool { return strings.Contains(string(answer), `"result"`) },
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

func nchanFleet() Fleet {
	return Fleet{
		Name: "nchan-redis", Settings: "nchan_redis_pass, one worker in each nginx, buffer of 1,024 events and 5 minutes", Stored: "in Redis' memory",
		Broker: redis, OnePort: true,
		Node: func(ctx context.Context, env *catalog.Env, dir, broker string, number, stream, _ int) ([]string, error) {
			nginx, module, err := catalog.Nchan(ctx, env)
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
