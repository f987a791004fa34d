package catalog

import (
	"context"
	_ "embed"
	"strconv"
)

//go:embed conf/floor.c
var floorSource []byte

// floorC is the floor in C: it only sends, and so shows what the kernel costs.
func floorC() Peer {
	return Peer{
		Name: "floor", Settings: "C, one thread, one send for each socket, nothing else", Routes: ours(),
		Version: func(ctx context.Context, _ *Env) (string, error) {
			if _, ok := program("gcc"); !ok {
				return "", &Missing{"gcc", "apt-get install gcc libc6-dev"}
			}
			return firstLine(ctx, "gcc", "--version"), nil
		},
		Plan: func(ctx context.Context, env *Env, ports Ports, _ string) (Plan, error) {
			bin, err := env.BuildC(ctx, "floor", floorSource)
			return onePort(ports, bin, strconv.Itoa(ports.Stream)), err
		},
	}
}

// floorGo is the floor in Go.
func floorGo() Peer {
	return Peer{
		Name: "floor-go", Settings: "Go, one goroutine, one raw system call for each socket, nothing else", Routes: ours(),
		Version: goVersion,
		Plan: func(ctx context.Context, env *Env, ports Ports, _ string) (Plan, error) {
			bin, err := env.Build(ctx, "floor-go", env.Root, "./server/floor-go")
			return onePort(ports, bin, "-listen", address(ports.Stream)), err
		},
	}
}

// goPeer is a server of this module that uses a Go library. Its settings are in server/NAME/main.go.
func goPeer(name, library, settings string, routes Routes) Peer {
	if routes.Subscribe == "" {
		routes = ours()
	}
	return Peer{
		Name: name, Settings: settings, Routes: routes,
		Version: func(ctx context.Context, env *Env) (string, error) {
			return output(ctx, env.Root, "go", "list", "-m", "-f", "{{.Path}} {{.Version}}", library)
		},
		Plan: func(ctx context.Context, env *Env, ports Ports, _ string) (Plan, error) {
			bin, err := env.Build(ctx, name, env.Root, "./server/"+name)
			return onePort(ports, bin, "-listen", address(ports.Stream)), err
		},
	}
}

// fanfare is the server of the main module. It has its default configuration, except for the log and for the limit of subscribers
// per key, which is so high that, as for the others, it does not matter.
func fanfare() Peer {
	return Peer{
		Name: "fanfare", Settings: "default configuration, 20,000 subscribers on a key allowed, log from warnings on", Routes: ours(),
		Version: func(ctx context.Context, env *Env) (string, error) {
			bin, err := env.Build(ctx, "fanfare", env.Main(), "./cmd/fanfare")
			if err != nil {
				return "", err
			}
			return output(ctx, env.Bin, bin, "version")
		},
		Plan: func(ctx context.Context, env *Env, ports Ports, _ string) (Plan, error) {
			bin, err := env.Build(ctx, "fanfare", env.Main(), "./cmd/fanfare")
			return Plan{
				Commands: []Command{{Args: []string{bin, "serve", "--listen", address(ports.Stream), "--admin", address(ports.Publish),
					"--max-clients", "20000", "--log-level", "warn"}}},
				Base: base(ports.Stream), PublishBase: base(ports.Publish),
			}, err
		},
	}
}

func goVersion(ctx context.Context, env *Env) (string, error) {
	return output(ctx, env.Root, "go", "version")
}

func onePort(ports Ports, args ...string) Plan {
	return Plan{Commands: []Command{{Args: args}}, Base: base(ports.Stream), PublishBase: base(ports.Stream)}
}
