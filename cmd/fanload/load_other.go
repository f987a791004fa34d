//go:build !linux

package main

import (
	"errors"
	"io"
)

var errLinux = errors.New("fanload runs on Linux only: it reads from its subscribers with epoll, and the server's figures from /proc")

func load(c *command, args []string, _, stderr io.Writer) int {
	if _, _, err := c.settings(args); err != nil {
		printError(stderr, err)
		return exitUsage
	}
	printError(stderr, errLinux)
	return exitFailed
}

func worker(_ io.Reader, _, stderr io.Writer) int {
	printError(stderr, errLinux)
	return exitFailed
}
