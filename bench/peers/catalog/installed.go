package catalog

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

//go:embed conf/nchan.conf
var nchanConf string

//go:embed conf/pushpin.conf
var pushpinConf string

// nchanPackaged is the path of the module in Debian's package.
const nchanPackaged = "/usr/lib/nginx/modules/ngx_nchan_module.so"

// nchanModule returns the module that server/nchan/build.sh has built from the newest release, or otherwise that of the package.
func nchanModule(ctx context.Context, env *Env) (path, version string, err error) {
	own := filepath.Join(env.Root, "server", "nchan")
	if v, err := os.ReadFile(filepath.Join(own, "version")); err == nil {
		return filepath.Join(own, "ngx_nchan_module.so"), strings.TrimSpace(string(v)) + " (built from its source)", nil
	}
	if _, err := os.Stat(nchanPackaged); err != nil {
		return "", "", &Missing{"nginx with nchan", "apt-get install nginx libnginx-mod-nchan; bench/peers/server/nchan/build.sh for the newest release"}
	}
	version, err = debianVersion(ctx, "libnginx-mod-nchan")
	return nchanPackaged, version, err
}

// pushpinInternal has the addresses at which Pushpin's processes find each other.
const pushpinInternal = "/usr/lib/pushpin/internal.conf"

// Nchan returns the paths of nginx and of the module nchan, and their versions.
func Nchan(ctx context.Context, env *Env) (nginx, module, version string, err error) {
	nginx, ok := program("nginx")
	if !ok {
		return "", "", "", &Missing{"nginx", "apt-get install nginx libnginx-mod-nchan"}
	}
	module, version, err = nchanModule(ctx, env)
	return nginx, module, fmt.Sprintf("nchan %s, %s", version, firstLine(ctx, nginx, "-v")), err
}

// nchan is nginx with the module nchan. Its settings are in conf/nchan.conf.
func nchan(name, workers, settings string) Peer {
	return Peer{
		Name: name, Settings: settings,
		Routes: Routes{ // nchan's own locations, with the channel where they read it
			Subscribe:      "{{.Base}}/stream?connectKey={{urlquery .Key}}",
			Publish:        "{{.PublishBase}}/publish?key={{urlquery .Key}}",
			PublishHeaders: []string{"Content-Type: text/plain"},
			PublishBody:    "{{.Payload}}",
		},
		Version: func(ctx context.Context, env *Env) (string, error) {
			_, _, version, err := Nchan(ctx, env)
			return version, err
		},
		Plan: func(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error) {
			nginx, module, _, err := Nchan(ctx, env)
			if err != nil {
				return Plan{}, err
			}
			conf := filepath.Join(dir, "nginx.conf")
			err = writeTemplate(conf, nchanConf, map[string]any{
				"Module": module, "Workers": workers, "Dir": dir, "Port": ports.Stream, "Root": os.Geteuid() == 0,
			})
			return onePort(ports, nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf), err
		},
	}
}

// pushpin is Pushpin with an application that it asks. Its settings are in conf/pushpin.conf.
func pushpin() Peer {
	return Peer{
		Name: "pushpin", Settings: "message rate lifted, no log; 32 connections opened at once; the application behind it is not counted",
		Routes: Routes{
			Subscribe:      "{{.Base}}/stream?connectKey={{urlquery .Key}}",
			Publish:        "{{.PublishBase}}/publish/",
			PublishHeaders: []string{"Content-Type: application/json"},
			PublishBody:    `{"items":[{"channel":{{json .Key}},"formats":{"http-stream":{"content":{{json (printf "data: %s\n\n" .Payload)}}}}}]}`,
			InFlight:       32, // with 256, some are refused: 502 Error while proxying to origin
		},
		Version: func(ctx context.Context, _ *Env) (string, error) {
			for _, p := range []string{"pushpin", "condure", "zurl"} {
				if _, ok := program(p); !ok {
					return "", &Missing{p, "apt-get install pushpin"}
				}
			}
			version, err := debianVersion(ctx, "pushpin")
			return "pushpin " + version, err
		},
		Plan: planPushpin,
	}
}

func planPushpin(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error) {
	app, err := env.Build(ctx, "pushpin-app", env.Root, "./server/pushpin-app")
	if err != nil {
		return Plan{}, err
	}
	path, _ := program("pushpin")
	conf := filepath.Join(dir, "pushpin.conf")
	internal, err := os.ReadFile(pushpinInternal)
	if err != nil {
		return Plan{}, err
	}
	// Debian's zurl is a separate service under /var/run. Here Pushpin starts its own.
	own := strings.ReplaceAll(string(internal), "/var/run/zurl/zurl-", "{rundir}/{ipc_prefix}zurl-")
	err = errors.Join(
		writeTemplate(conf, pushpinConf, map[string]any{"Dir": dir, "Port": ports.Stream, "Publish": ports.Publish}),
		os.WriteFile(filepath.Join(dir, "internal.conf"), []byte(own), 0o644),
		os.WriteFile(filepath.Join(dir, "routes"), fmt.Appendf(nil, "* %s\n", address(ports.Helper)), 0o644),
	)
	return Plan{
		Commands: []Command{
			{Args: []string{app, "-listen", address(ports.Helper)}, Helper: true},
			{Args: []string{path, "--config=" + conf, "--loglevel=0"}},
		},
		Base: base(ports.Stream), PublishBase: base(ports.Publish),
	}, err
}

// eggSSE is an Egg application with egg-sse; server/egg has it. Its packages are those of the plugin's tests, egg/test/egg3.
func eggSSE() Peer {
	routes := ours()
	routes.HoldsHead = true
	return Peer{
		Name: "egg-sse", Settings: "egg in one process, no log, unused plugins off, 20,000 subscribers on a key allowed", Routes: routes,
		Version: func(ctx context.Context, env *Env) (string, error) {
			if _, ok := program("node"); !ok {
				return "", &Missing{"Node.js", "apt-get install nodejs npm, then " + eggInstall}
			}
			var versions []string
			for _, name := range []string{"egg-sse", "egg"} {
				v, err := npmVersion(eggDir(env), name)
				if err != nil {
					return "", &Missing{name, eggInstall}
				}
				versions = append(versions, name+" "+v)
			}
			return strings.Join(versions, ", ") + ", node " + firstLine(ctx, "node", "--version"), nil
		},
		Plan: func(_ context.Context, env *Env, ports Ports, dir string) (Plan, error) {
			plan := onePort(ports, "node", filepath.Join(eggDir(env), "server.js"), strconv.Itoa(ports.Stream))
			plan.Commands[0].Env = []string{"FANFARE_PEER_DIR=" + dir, "NODE_ENV=production"}
			return plan, nil
		},
	}
}

// eggInstall is run in the repository.
const eggInstall = "npm ci --no-audit --no-fund --prefix egg/test/egg3"

func eggDir(env *Env) string { return filepath.Join(env.Root, "server", "egg") }

func npmVersion(dir, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "node_modules", name, "package.json"))
	if err != nil {
		return "", err
	}
	var p struct{ Version string }
	err = json.Unmarshal(b, &p)
	return p.Version, err
}

func debianVersion(ctx context.Context, name string) (string, error) {
	v, err := output(ctx, "/", "dpkg-query", "-W", "-f", "${Version}", name)
	if errors.Is(err, exec.ErrNotFound) {
		return "(not a Debian package)", nil
	}
	return v, err
}

func writeTemplate(path, text string, values any) error {
	t, err := template.New(filepath.Base(path)).Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, values), f.Close())
}
