package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// unixScheme begins the address of a Unix socket in listen and admin.
const unixScheme = "unix:"

// maxSocketPath is the longest path of a socket file on every system, in bytes.
const maxSocketPath = 103

// SocketPath returns the path of an address "unix:PATH". ok is false for other addresses.
func SocketPath(addr string) (path string, ok bool) { return strings.CutPrefix(addr, unixScheme) }

// parseSocket reads the part of "unix:PATH" after the colon.
func parseSocket(text, path string) (address, error) {
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0):
		return address{}, fmt.Errorf("%s has no absolute path without . and ..: write it as in unix:/run/fanfare/stream.sock", quoteShort(text))
	case len(path) > maxSocketPath:
		return address{}, fmt.Errorf("%s has a path of %d bytes, and systems allow %d for a socket: choose a shorter one", quoteShort(text), len(path), maxSocketPath)
	}
	return address{path: path}, nil
}

// SocketMode is the mode that a setting such as listenMode gives, in octal digits.
func SocketMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 || mode&0o200 == 0 {
		return 0, fmt.Errorf("%s is not a mode with which the owner may connect: write octal digits, such as 0660 for the owner and the group, or 0666 for everybody on the machine", quoteShort(text))
	}
	return fs.FileMode(mode), nil
}

// checkSocket checks the mode and owner of the socket file of a listener.
func checkSocket(listener string, addr func(*Config) string, value func(*Config) string, mode bool) func(*Config, place) {
	return func(c *Config, at place) {
		text := value(c)
		if mode {
			if _, err := SocketMode(text); err != nil {
				at.fail("%s", err)
				return
			}
		} else if strings.Count(text, ":") > 1 || strings.ContainsAny(text, " \t/,") || strings.HasSuffix(text, ":") {
			at.fail("%s is not an owner: write USER, USER:GROUP or :GROUP", quoteShort(text))
			return
		}
		if _, unix := SocketPath(addr(c)); !unix && text != byName[at.path].Default {
			at.fail("%s is for a Unix socket, and %s is %q: leave it out, or write %s: unix:/PATH", quoteShort(text), listener, addr(c), listener)
		}
	}
}

func listenAddr(c *Config) string { return c.Listen }
func adminAddr(c *Config) string  { return c.Admin }
