package main

import (
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

// listeners are the server's listening sockets. Sockets that the parent process passes on (systemd's socket activation,
// sd_listen_fds(3)) replace the addresses of the configuration. Clients that connect while no server is running wait in the
// queue of such a socket.
type listeners struct {
	stream, admin net.Listener // admin is nil if the setting is off
	inherited     []string     // the settings that inherited sockets replace
}

// Names of inherited sockets, set by FileDescriptorName= in a unit. A single socket with any other name is the stream's.
const (
	socketStream = "stream"
	socketAdmin  = "admin"
)

// openListeners uses the inherited sockets and opens the others, but with a backplane not that of streams: see openStream. guarded
// says whether a credential is needed on the admin listener. The error names the setting.
func openListeners(cfg *config.Config, guarded bool, inherited []*os.File) (_ *listeners, err error) {
	l := &listeners{}
	defer func() {
		for _, f := range inherited { // each listener has its own copy
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
		return nil, fmt.Errorf("admin: is off, but a socket named %q was inherited: remove it from the unit, or give admin an address", socketAdmin)
	}
	if l.admin != nil && !guarded && !loopback(l.admin.Addr()) { // the same rule as for the setting admin
		return nil, openAdmin(fmt.Sprintf("inherited socket %q", socketAdmin), l.admin.Addr(), "write ListenStream=127.0.0.1:PORT in its unit")
	}
	if l.admin != nil && config.ShortToken(string(cfg.PublishToken)) && !loopback(l.admin.Addr()) {
		return nil, shortToken(cfg, l.admin.Addr())
	}
	if !cfg.Durable() {
		if err = l.openStream(cfg); err != nil {
			return nil, err
		}
	}
	if l.admin == nil && cfg.Admin != config.Off {
		if l.admin, err = listen("admin", cfg.Admin, cfg.AdminMode, cfg.AdminOwner); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// openStream opens the stream listener unless it was inherited. With a backplane it comes after the log: until then clients
// are refused and try again, or wait in the queue of an inherited socket.
func (l *listeners) openStream(cfg *config.Config) (err error) {
	if l.stream == nil {
		l.stream, err = listen("listen", cfg.Listen, cfg.ListenMode, cfg.ListenOwner)
	}
	return err
}

// loopback reports whether only this machine reaches the address.
func loopback(a net.Addr) bool {
	if _, ok := a.(*net.UnixAddr); ok {
		return true
	}
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

// inherit uses an inherited socket. alone says that it is the only one.
func (l *listeners) inherit(f *os.File, alone bool) error {
	name, at := f.Name(), &l.stream
	switch {
	case name == socketAdmin:
		at = &l.admin
		l.inherited = append(l.inherited, "admin")
	case name == socketStream || alone:
		l.inherited = append(l.inherited, "listen")
	default:
		return fmt.Errorf("inherited socket %q has an unknown name: write FileDescriptorName=%s or %s in its unit", name, socketStream, socketAdmin)
	}
	if *at != nil {
		return fmt.Errorf("more than one inherited socket has the name %q: give each unit its own FileDescriptorName=", name)
	}
	ln, err := transport.Inherit(f)
	if err != nil {
		return fmt.Errorf("inherited socket %q cannot be used: %w", name, err)
	}
	*at = ln
	return nil
}

// describe names, for the log, the settings that inherited sockets replace.
func (l *listeners) describe() string { return strings.Join(l.inherited, ", ") }

// inheritedFiles returns the sockets that the parent process passed on; usually none. It also removes the variables that
// announce them from the environment, because a schedule's command must not use the sockets.
func inheritedFiles() []*os.File { return activation.Files(true) }

// listen opens the listener of a setting. mode and owner are those of a Unix socket.
func listen(setting, addr, mode, owner string) (net.Listener, error) {
	ln, err := listenAt(addr, mode, owner)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: the address is in use: stop the program that uses it, or choose another address with --%s", setting, addr, setting)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", setting, addr, err)
	}
	return ln, nil
}

// shortToken is the error for a token that other machines could guess.
func shortToken(cfg *config.Config, at net.Addr) error {
	return fmt.Errorf("publishToken: has %d bytes, and other machines can reach the admin listener on %s and guess it: give it %d or more", len(cfg.PublishToken), at, config.MinToken)
}
