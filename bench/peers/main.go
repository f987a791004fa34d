// Command peers compares Fanfare with the servers that a user would choose instead: it starts each server, runs fanload against
// it, and makes tables and plots of the figures. To measure a single server, or one that is already running, use fanload. To
// write tests in JavaScript, or to load a server from several machines, use the k6 scripts in loadtest. README.md describes the
// comparison.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `peers compares Fanfare with the servers that a user would choose instead. It starts each server and runs fanload against it.
To measure a single server, use fanload; for tests in JavaScript or from several machines, use the k6 scripts in loadtest.
Run it in bench/peers:

  go run . list                    list the servers: which are installed, their versions and settings
  go run . check [-peers A,B]      start each server, check that it delivers each event once and in order, stop it
  go run . serve -peers A          start one server, print its routes, and stop it at Ctrl-C
  go run . run [flags]             compare the servers; "run -h" lists the flags
  go run . fleet [flags]           compare fleets: three nodes and a broker; "fleet -h" lists the flags
  go run . report -json FILE       make the tables and plots again from the JSON file of a comparison
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		cancel()
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, out io.Writer) error {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "list":
		return list(ctx, args, out)
	case "check":
		return checkAll(ctx, args, out)
	case "serve":
		return serve(ctx, args, out)
	case "run":
		return compare(ctx, args, out)
	case "fleet":
		return compareFleets(ctx, args, out)
	case "report":
		return rewrite(args, out)
	case "help", "-h", "--help":
		_, err := io.WriteString(out, usage)
		return err
	default:
		return fmt.Errorf("unknown command %q\n\n%s", name, usage)
	}
}
