//go:build unix

package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UnixSocket is a socket file to listen on.
type UnixSocket struct {
	// Path is absolute.
	Path string
	// Mode is who may connect: those who may write to the file. Default 0660.
	Mode fs.FileMode
	// Owner is whose the file becomes: "USER", "USER:GROUP" or ":GROUP", by name or
	// number. Default: those of the process.
	Owner string
}

// ListenUnix listens on a socket file. A file that an earlier process has left is
// replaced if nobody listens on it. Nobody can connect before the file has its mode
// and owner. Close removes the file, unless it is another's by then.
func ListenUnix(o UnixSocket) (net.Listener, error) {
	setDefault(&o.Mode, 0o660)
	uid, gid, err := o.owner()
	if err != nil {
		return nil, err
	}
	defer lockFolder(filepath.Dir(o.Path))()
	if err := removeStale(o.Path); err != nil {
		return nil, err
	}
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), o.Path)
	defer func() { _ = file.Close() }() // FileListener duplicates it
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: o.Path}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	ln, err := o.listen(fd, file, uid, gid)
	if err != nil {
		_ = os.Remove(o.Path)
	}
	return ln, err
}

// listen makes a listener of a bound socket.
func (o *UnixSocket) listen(fd int, file *os.File, uid, gid int) (net.Listener, error) {
	if err := os.Lchown(o.Path, uid, gid); err != nil {
		return nil, fmt.Errorf("cannot give the socket to %q: %w: run as a member of the group, or as root", o.Owner, errors.Unwrap(err))
	}
	if err := os.Chmod(o.Path, o.Mode.Perm()); err != nil {
		return nil, err
	}
	const backlog = 65535 // as much as the kernel allows
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	info, err := os.Lstat(o.Path)
	if err != nil {
		return nil, err
	}
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return &unixListener{UnixListener: ln.(*net.UnixListener), path: o.Path, info: info}, nil
}

// owner returns the ids that Owner means; -1 leaves one as it is.
func (o *UnixSocket) owner() (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, _ := strings.Cut(o.Owner, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return 0, 0, fmt.Errorf("the user %q is unknown: %w", name, err)
			}
			uid, _ = strconv.Atoi(u.Uid)
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return 0, 0, fmt.Errorf("the group %q is unknown: %w", group, err)
			}
			gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return uid, gid, nil
}

// lockTime is how long another process may take from its look at the file to listen.
const lockTime = 2 * time.Second

// lockFolder keeps other processes from replacing a file of the folder in ListenUnix
// until unlock. It does not wait indefinitely: whoever can read the folder can lock it.
func lockFolder(path string) (unlock func()) {
	dir, err := os.Open(path)
	if err != nil {
		return func() {} // bind says what is wrong
	}
	for end := time.Now().Add(lockTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK {
			break
		}
	}
	return func() { _ = dir.Close() }
}

// removeStale removes a socket file on which nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("the file exists and is not a socket: remove it, or choose another path")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return os.NewSyscallError("bind", syscall.EADDRINUSE)
	case errors.Is(err, syscall.EAGAIN): // its backlog is full
		return os.NewSyscallError("bind", syscall.EADDRINUSE)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot tell whether somebody listens on the socket: %w", err)
	}
	return os.Remove(path)
}

// unixListener removes its file when it is closed.
type unixListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	once sync.Once
}

// Socket returns the listener of package net, which package socket knows.
func (l *unixListener) Socket() *net.UnixListener { return l.UnixListener }

func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
