// Command fanload measures a server of Server-Sent Events: it holds thousands of subscribers, publishes events to them,
// and checks what each of them gets, and when. docs/fanload.md describes it.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Exit statuses.
const (
	exitOK     = 0 // the run was carried out, and all thresholds held
	exitFailed = 1 // a threshold did not hold, or the run measured nothing
	exitUsage  = 2 // wrong arguments
)

// workerCommand is the argument with which the program executes itself as a worker; it is no command for people.
const workerCommand = "worker-on-pipes"

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute carries out the command that args ask for and returns the exit status.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == workerCommand {
		return worker(stdin, stdout, stderr)
	}
	c, help, err := parseArgs(args)
	switch {
	case err != nil:
		printError(stderr, err)
		return exitUsage
	case help != "":
		return write(stdout, stderr, help)
	case c.name == "presets":
		text, err := presetText(c.preset)
		if err != nil {
			printError(stderr, err)
			return exitUsage
		}
		return write(stdout, stderr, text)
	case c.name == "version":
		return write(stdout, stderr, "fanload "+versionText()+"\n")
	}
	return load(c, args, stdout, stderr)
}

func write(stdout, stderr io.Writer, text string) int {
	if _, err := io.WriteString(stdout, text); err != nil {
		printError(stderr, err)
		return exitFailed
	}
	return exitOK
}

// printError writes an error with "fanload: " before each of its lines. There is nobody to tell when stderr fails.
func printError(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		_, _ = fmt.Fprintf(stderr, "fanload: %s\n", line)
	}
}
