// Command peers compares Fanfare with the servers that a user would pick instead. See README.md.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `peers compares Fanfare with the servers that a user would pick instead. Run it in bench/peers:

  go run . list                    which servers are installed, their versions and settings
  go run . check [-peers A,B]      start each, check that it delivers each event once and in order, stop it
  go run . serve -peers A          start one, print its routes, and stop it at Ctrl-C
  go run . run [flags]             compare them; "run -h" lists the flags
  go run . report -json FILE       make the table and the plots again from a run's JSON
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
	case "report":
		return rewrite(args, out)
	case "help", "-h", "--help":
		_, err := io.WriteString(out, usage)
		return err
	default:
		return fmt.Errorf("%q is no command\n\n%s", name, usage)
	}
}
