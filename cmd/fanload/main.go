// Command fanload measures how a Server-Sent Events server performs under load. It holds thousands of subscribers from one
// machine, publishes events to them, checks for each subscriber which events arrived and in which order, and measures when.
//
// Use fanload for figures: latency, throughput, and CPU time and memory of the server. Use the k6 scripts of loadtest where a
// test is to be written in JavaScript, or is to run with other k6 tests, on several machines, or in a dashboard. Use
// bench/peers, which runs fanload, to compare several servers in one run. docs/fanload.md describes the command.
//
//	fanload open --subscribers 1000 --rate 200 --duration 5s --threshold lost==0
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Exit statuses.
const (
	exitOK     = 0 // the run was completed, and all checks and thresholds held
	exitFailed = 1 // a check or a threshold failed, or the run measured nothing
	exitUsage  = 2 // wrong arguments
)

// workerCommand is the argument with which the program starts itself as a worker. It is not a command for users.
const workerCommand = "worker-on-pipes"

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute runs the command that args name and returns the exit status.
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

// printError writes an error with "fanload: " before each of its lines. If stderr fails, the failure cannot be reported.
func printError(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		_, _ = fmt.Fprintf(stderr, "fanload: %s\n", line)
	}
}
