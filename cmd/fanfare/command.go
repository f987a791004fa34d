package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"fanfare/cmd/fanfare/config"
	"fanfare/cmd/fanfare/pub"
	"fanfare/cmd/fanfare/remote"
	"fanfare/cmd/fanfare/sub"
)

// Exit codes of fanfare.
const (
	exitOK      = 0
	exitRuntime = 1 // the server failed, "config check" found something, or "pub" could not publish all
	exitUsage   = 2 // wrong arguments or configuration
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, serve)) }

// server is the function of the serve command. cfg is the first configuration. load makes a new one from the same arguments
// and environment, and from the file as it is at that time.
type server func(cfg *config.Config, load func() (*config.Config, error)) error

// run runs the command that args name and returns the exit code. Errors go to stderr, one per line.
func run(args, environ []string, stdout, stderr io.Writer, serve server) int {
	cmd, err := config.Load(args, environ)
	if err != nil {
		printError(stderr, err)
		if cmd != nil && cmd.Name == "config check" {
			return exitRuntime
		}
		return exitUsage
	}
	text := ""
	switch cmd.Name {
	case "serve":
		load := func() (*config.Config, error) {
			again, err := config.Load(args, environ)
			if err != nil {
				return nil, err
			}
			return again.Config, nil
		}
		if err := serve(cmd.Config, load); err != nil {
			printError(stderr, err)
			return exitRuntime
		}
	case "config check":
		if err := checkParts(cmd.Config); err != nil {
			printError(stderr, err)
			return exitRuntime
		}
		warnings, _ := checkCerts(cmd.Config) // checkParts has looked at the error
		for _, w := range warnings {
			printError(stderr, fmt.Errorf("warning: %s", w))
		}
		text = "ok: " + cmd.Config.Sources() + "\n"
	case "config print":
		text = cmd.Config.YAML()
	case "config docs":
		text = config.Docs()
	case "healthcheck":
		if err := healthcheck(cmd.Config); err != nil {
			printError(stderr, err)
			return exitRuntime
		}
		text = "ok\n"
	case "pub", "sub":
		return runClient(cmd, stdout, stderr)
	case "version":
		text = versionText() + "\n"
	case "help":
		text = cmd.Help
	default:
		printError(stderr, fmt.Errorf("command %q is not implemented", cmd.Name))
		return exitUsage
	}
	if _, err := io.WriteString(stdout, text); err != nil {
		printError(stderr, err)
		return exitRuntime
	}
	return exitOK
}

// runClient runs the commands pub and sub. The first Ctrl-C or SIGTERM ends them in an orderly way, a second one at once.
func runClient(cmd *config.Command, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	var err error
	if cmd.Name == "pub" {
		err = pub.Run(ctx, *cmd.Pub, os.Stdin, stdout, stderr)
	} else {
		err = sub.Run(ctx, *cmd.Sub, stdout, stderr)
	}
	var usage *remote.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		printError(stderr, err)
		return exitUsage
	}
	printError(stderr, err)
	return exitRuntime
}

// printError writes an error with "fanfare: " before each of its lines. If stderr fails, the failure cannot be reported.
func printError(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		_, _ = fmt.Fprintf(stderr, "fanfare: %s\n", line)
	}
}

// version is set by the linker in release builds: -ldflags "-X main.version=1.2.3".
var version string

// versionText is "fanfare VERSION (commit HASH, TIME, modified) GOVERSION OS/ARCH". It leaves out what the build does not
// know; go run, and builds outside a repository, have no commit.
func versionText() string {
	number, commit := cmp.Or(version, "(devel)"), []string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		if version == "" && info.Main.Version != "" {
			number = info.Main.Version
		}
		vcs := make(map[string]string)
		for _, s := range info.Settings {
			vcs[s.Key] = s.Value
		}
		if vcs["vcs.revision"] != "" {
			commit = append(commit, "commit "+vcs["vcs.revision"])
		}
		if vcs["vcs.time"] != "" {
			commit = append(commit, vcs["vcs.time"])
		}
		if vcs["vcs.modified"] == "true" {
			commit = append(commit, "modified")
		}
	}
	text := "fanfare " + number
	if len(commit) > 0 {
		text += " (" + strings.Join(commit, ", ") + ")"
	}
	return fmt.Sprintf("%s %s %s/%s", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
