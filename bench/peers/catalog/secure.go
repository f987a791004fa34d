package catalog

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The peers with TLS. Each has its streams at a port with TLS, and its publish route at another one without: an event is published
// once and delivered thousands of times, and so the publisher is the same for all.

//go:embed conf/nginx-tls.conf
var nginxTLSConf string

const mercureLibrary = "github.com/dunglas/mercure"

// floorTLS is the floor in C, with OpenSSL.
func floorTLS() Peer {
	return Peer{
		Name: "floor-tls", Settings: "C, one thread, OpenSSL, one SSL_write for each socket, SSL_MODE_RELEASE_BUFFERS, nothing else", Routes: ours(), TLS: true,
		Version: func(ctx context.Context, env *Env) (string, error) {
			if _, ok := program("gcc"); !ok {
				return "", &Missing{"gcc", "apt-get install gcc libc6-dev libssl-dev"}
			}
			if _, err := buildFloorTLS(ctx, env); err != nil {
				return "", &Missing{"OpenSSL's headers", "apt-get install libssl-dev (" + err.Error() + ")"}
			}
			openssl, _, _ := strings.Cut(firstLine(ctx, "openssl", "version"), " (")
			return strings.TrimSuffix(firstLine(ctx, "gcc", "--version")+", "+openssl, ", "), nil
		},
		Plan: func(ctx context.Context, env *Env, ports Ports, _ string) (Plan, error) {
			bin, err := buildFloorTLS(ctx, env)
			if err != nil {
				return Plan{}, err
			}
			c, err := env.Certificate()
			return securePlan(ports, c, bin, strconv.Itoa(ports.Stream), strconv.Itoa(ports.Publish), c.File, c.Key), err
		},
	}
}

func buildFloorTLS(ctx context.Context, env *Env) (string, error) {
	return env.BuildC(ctx, "floor-tls", floorSource, "-DFLOOR_TLS", "-lssl", "-lcrypto")
}

// fanfareTLS is the server of the main module with a certificate, otherwise as fanfare.
func fanfareTLS() Peer {
	p := fanfare()
	p.Name, p.Settings, p.TLS, p.HTTP2 = "fanfare-tls", "as fanfare, with tlsCert and tlsKey", true, true
	p.Plan = func(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error) {
		plan, err1 := fanfare().Plan(ctx, env, ports, dir)
		c, err2 := env.Certificate()
		if err := errors.Join(err1, err2); err != nil {
			return plan, err
		}
		return securePlan(ports, c, append(plan.Commands[0].Args, "--tls-cert", c.File, "--tls-key", c.Key)...), nil
	}
	return p
}

// fanfareBehindNginx is Fanfare without TLS behind nginx with TLS, as in deploy/nginx.conf.
func fanfareBehindNginx() Peer {
	return Peer{
		Name: "fanfare-nginx", Settings: "fanfare behind nginx with TLS, a worker for each core, no buffering; both are counted", Routes: ours(), TLS: true,
		Version: func(ctx context.Context, env *Env) (string, error) {
			nginx, ok := program("nginx")
			if !ok {
				return "", &Missing{"nginx", "apt-get install nginx"}
			}
			v, err := fanfare().Version(ctx, env)
			return v + ", " + firstLine(ctx, nginx, "-v"), err
		},
		Plan: func(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error) {
			inner := ports
			inner.Stream = ports.Helper
			plan, err1 := fanfare().Plan(ctx, env, inner, dir)
			outer, err2 := nginxTLS(ctx, env, ports, dir, map[string]any{"Proxy": ports.Helper})
			plan.Commands = append(plan.Commands, outer.Commands...)
			plan.Base, plan.CA = outer.Base, outer.CA
			return plan, errors.Join(err1, err2)
		},
	}
}

// nchanTLS is nginx with nchan, one worker, with TLS.
func nchanTLS() Peer {
	p := nchan("nchan-tls", "1", "as nchan, with ssl; ssl_buffer_size 4k instead of 16k, as nginx recommends for small answers")
	p.TLS = true
	p.Plan = func(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error) {
		module, _, err := nchanModule(ctx, env)
		if err != nil {
			return Plan{}, err
		}
		return nginxTLS(ctx, env, ports, dir, map[string]any{"Module": module})
	}
	return p
}

// nginxTLS is nginx with conf/nginx-tls.conf: with nchan if values has Module, before another server if it has Proxy.
func nginxTLS(_ context.Context, env *Env, ports Ports, dir string, values map[string]any) (Plan, error) {
	nginx, _ := program("nginx")
	c, err := env.Certificate()
	if err != nil {
		return Plan{}, err
	}
	all := map[string]any{
		"Module": "", "Proxy": 0, "Dir": dir, "Port": ports.Stream, "Publish": ports.Publish, "Root": os.Geteuid() == 0,
		"Certificate": c.File, "Key": c.Key,
	}
	for name, v := range values {
		all[name] = v
	}
	conf := filepath.Join(dir, "nginx.conf")
	err = writeTemplate(conf, nginxTLSConf, all)
	return securePlan(ports, c, nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf), err
}

// hosted is a server of this module with TLS, from server/PROGRAM.
func hosted(name, program, settings string, version func(context.Context, *Env) (string, error)) Peer {
	return Peer{
		Name: name, Settings: settings, Routes: ours(), TLS: true, HTTP2: true, Version: version,
		Plan: func(ctx context.Context, env *Env, ports Ports, _ string) (Plan, error) {
			bin, err := env.Build(ctx, program, env.Root, "./server/"+program)
			if err != nil {
				return Plan{}, err
			}
			c, err := env.Certificate()
			return securePlan(ports, c, bin, "-listen", address(ports.Stream), "-publish", address(ports.Publish),
				"-tls-cert", c.File, "-tls-key", c.Key), err
		},
	}
}

func mercureVersion(ctx context.Context, env *Env) (string, error) {
	v, err := output(ctx, env.Root, "go", "list", "-m", "-f", "{{.Path}} {{.Version}}", mercureLibrary)
	if err != nil {
		return "", err
	}
	g, err := goVersion(ctx, env)
	return fmt.Sprintf("%s, %s", v, g), err
}

func securePlan(ports Ports, c Certificate, args ...string) Plan {
	return Plan{Commands: []Command{{Args: args}}, Base: secureBase(ports.Stream), PublishBase: base(ports.Publish), CA: c.File}
}
