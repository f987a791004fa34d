package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// The subscribers of BenchmarkFanout run in a separate process, which is this test binary again, so that their work does not
// count as the server's.

// swarmRole names the environment variable that makes the test binary a swarm: "PORT SUBSCRIBERS".
const swarmRole = "FANFARE_BENCH_SWARM"

// endOfEvent is the last character of each event's data and occurs nowhere else in a stream. So a subscriber can count events
// without parsing them, wherever the kernel splits them.
const endOfEvent = '~'

func TestMain(m *testing.M) {
	role := os.Getenv(swarmRole)
	if role == "" {
		os.Exit(m.Run())
	}
	var port, n int
	_, err := fmt.Sscan(role, &port, &n)
	if err == nil {
		err = runSwarm(port, n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "swarm:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runSwarm opens n streams at the port, and writes a byte to standard output each time that all of them have got one more event.
// It ends when its input ends, at the latest with the benchmark's process. It has one thread, one epoll instance, and no
// goroutine per subscriber.
func runSwarm(port, n int) error {
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		return err
	}
	watch := func(fd int) error {
		return syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
	}
	if err := watch(0); err != nil {
		return err
	}
	request := []byte("GET /stream?connectKey=k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	for range n {
		fd, err := connect(port)
		if err != nil {
			return err
		}
		if _, err := syscall.Write(fd, request); err != nil {
			return err
		}
		if err := watch(fd); err != nil {
			return err
		}
	}
	events, buf := make([]syscall.EpollEvent, 256), make([]byte, 64<<10)
	for missing := n; ; {
		ready, err := again(func() (int, error) { return syscall.EpollWait(epoll, events, -1) })
		if err != nil {
			return err
		}
		for _, ev := range events[:ready] {
			got, err := syscall.Read(int(ev.Fd), buf)
			switch {
			case ev.Fd == 0 || err == nil && got == 0:
				return nil // the benchmark's process or the server is gone
			case err != nil:
				return err
			}
			missing -= bytes.Count(buf[:got], []byte{endOfEvent})
		}
		for ; missing <= 0; missing += n {
			if _, err := os.Stdout.Write([]byte{endOfEvent}); err != nil {
				return err
			}
		}
	}
}

func connect(port int) (fd int, err error) {
	if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	return fd, syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

// swarm is the benchmark's side of that process.
type swarm struct {
	b       *testing.B
	out     *os.File
	process *os.Process
	buf     [1]byte
}

// startSwarm starts n subscribers of the port, which end with the benchmark.
func startSwarm(b *testing.B, port, n int) *swarm {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), swarmRole+"="+strings.Join([]string{strconv.Itoa(port), strconv.Itoa(n)}, " "))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdout = stdout
	err = cmd.Start()
	_ = stdout.Close() // the process has it
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		// Kill it, because it may still be connecting to a server that has failed.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
		_ = out.Close()
	})
	return &swarm{b: b, out: out, process: cmd.Process}
}

// signal stops the subscribers, or lets them continue.
func (s *swarm) signal(sig os.Signal) {
	if err := s.process.Signal(sig); err != nil {
		s.b.Fatal("the swarm has ended: ", err)
	}
}

// wait returns when all subscribers have got one more event. It fails if they do not get it: one that waits without end would
// hide that an event or a wake-up was lost.
func (s *swarm) wait() {
	if err := s.out.SetReadDeadline(time.Now().Add(eventually.Patience)); err != nil {
		s.b.Fatal(err)
	}
	_, err := io.ReadFull(s.out, s.buf[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.b.Fatal("a subscriber has not got an event within ", eventually.Patience)
	}
	if err != nil {
		s.b.Fatal("the swarm has ended: ", err)
	}
}
