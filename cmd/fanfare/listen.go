package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// listeners are the server's. Those that the program which started us holds open
// (systemd's socket activation, sd_listen_fds(3)) come before the addresses of the
// configuration: clients that arrive while no process is up wait in their queue.
type listeners struct {
	stream, admin net.Listener // admin is nil if it is off
	inherited     []string     // the settings that the inherited ones stand in for
}

// Names of inherited sockets: FileDescriptorName= of a unit. One that comes alone
// and has another name is the stream's.
const (
	socketStream = "stream"
	socketAdmin  = "admin"
)

// openListeners opens what is not inherited. The error names the setting.
func openListeners(cfg *config.Config, inherited []*os.File) (_ *listeners, err error) {
	l := &listeners{}
	defer func() {
		for _, f := range inherited { // a listener has a copy of its own
			_ = f.Close()
		}
		if err != nil {
			l.close()
		}
	}()
	for _, f := range inherited {
		if err := l.inherit(f, len(inherited) == 1); err != nil {
			return nil, err
		}
	}
	if l.admin != nil && cfg.Admin == config.Off {
		return nil, fmt.Errorf("admin: off, but a socket named %q was passed on: remove it from the unit, or give admin an address", socketAdmin)
	}
	if l.admin != nil && cfg.PublishToken == "" && !loopback(l.admin.Addr()) { // as the setting admin is checked
		return nil, fmt.Errorf("socket %q, which was passed on, listens on %s, which other machines can reach, and anyone could publish: set publishToken (environment FANFARE_PUBLISH_TOKEN), or write ListenStream=127.0.0.1:PORT in its unit", socketAdmin, l.admin.Addr())
	}
	if l.stream == nil {
		if l.stream, err = listen("listen", cfg.Listen); err != nil {
			return nil, err
		}
	}
	if l.admin == nil && cfg.Admin != config.Off {
		if l.admin, err = listen("admin", cfg.Admin); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (l *listeners) close() {
	for _, ln := range []net.Listener{l.stream, l.admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// inherit takes over a socket that was passed on.
func (l *listeners) inherit(f *os.File, alone bool) error {
	name, at := f.Name(), &l.stream
	switch {
	case name == socketAdmin:
		at = &l.admin
		l.inherited = append(l.inherited, "admin")
	case name == socketStream || alone:
		l.inherited = append(l.inherited, "listen")
	default:
		return fmt.Errorf("socket %q was passed on, and is neither %q nor %q: name it by FileDescriptorName= in its unit", name, socketStream, socketAdmin)
	}
	if *at != nil {
		return fmt.Errorf("more than one socket was passed on that is named %q: give each unit its own FileDescriptorName=", name)
	}
	ln, err := transport.Inherit(f)
	if err != nil {
		return fmt.Errorf("socket %q was passed on, and can't be used: %w", name, err)
	}
	*at = ln
	return nil
}

// describe is what the log says of inherited sockets: which settings they take
// the place of.
func (l *listeners) describe() string { return strings.Join(l.inherited, ", ") }

// inheritedFiles are the sockets that were passed on to this process, none as a
// rule. What says so is removed from the environment: a schedule's command must
// not take it for its own.
func inheritedFiles() []*os.File { return activation.Files(true) }

func listen(setting, addr string) (net.Listener, error) {
	ln, err := transport.Listen(context.Background(), addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: the address is in use: stop the program that has it, or choose another by --%s", setting, addr, setting)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", setting, addr, err)
	}
	return ln, nil
}
