package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/run"
	"fanfare/cmd/fanload/team"
)

// load runs a mode.
func load(c *command, args []string, stdout, stderr io.Writer) int {
	s, f, err := c.settings(args)
	if err == nil {
		err = s.Prepare(openFiles())
	}
	if err == nil {
		err = errors.Join(writable("--json", f.JSON), writable("--html", f.HTML))
	}
	if err != nil {
		printError(stderr, err)
		return exitUsage
	}
	exe, err := os.Executable()
	if err != nil {
		printError(stderr, err)
		return exitFailed
	}
	s.WorkerArgv = []string{exe, workerCommand}
	progress := newProgressLine(stderr, f.Progress)
	s.Progress = progress.show()

	// The first signal ends the run early, with a report of what was measured. The second one ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	result, err := run.Run(ctx, s)
	progress.end()
	if err != nil {
		printError(stderr, err)
	}
	if result == nil {
		return exitFailed
	}
	if bad := writeReports(result, f, stdout); bad != nil {
		printError(stderr, bad)
		return exitFailed
	}
	for _, v := range result.Checks {
		printError(stderr, fmt.Errorf("check %s failed: %s", v.Threshold, v.Shown))
		err = errors.Join(err, errors.New("a check failed"))
	}
	for _, v := range result.Thresholds {
		if !v.Held {
			printError(stderr, fmt.Errorf("threshold %s failed: %s", v.Threshold, v.Shown))
			err = errors.Join(err, errors.New("a threshold failed"))
		}
	}
	if err != nil {
		return exitFailed
	}
	return exitOK
}

func writeReports(r *report.Result, f *common, stdout io.Writer) error {
	if f.JSON == "-" {
		return errors.Join(r.JSON(stdout), writeFile(f.HTML, r.Page))
	}
	return errors.Join(r.Table(stdout), writeFile(f.JSON, r.JSON), writeFile(f.HTML, r.Page))
}

// writable checks that a report can be written, before a run that may take hours. It does not change an existing file.
func writable(flag, name string) error {
	if name == "" || name == "-" && flag == "--json" {
		return nil
	}
	_, err := os.Lstat(name)
	isNew := errors.Is(err, fs.ErrNotExist)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	err = file.Close()
	if isNew {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// openFiles is the limit of open files of a process. The Go runtime has raised the soft limit to the hard one.
func openFiles() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<30))
}

func worker(stdin io.Reader, stdout, stderr io.Writer) int {
	// Ctrl-C reaches the whole process group. The parent handles it, and ends the workers.
	signal.Ignore(os.Interrupt)
	if err := team.Worker(stdin, stdout, true); err != nil {
		printError(stderr, err)
		return exitFailed
	}
	return exitOK
}
