package bench_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/transport"
)

// eventData is the data of an event of about 200 bytes on the wire.
var eventData = strings.Repeat("x", 170) + string(endOfEvent)

// BenchmarkFanout sends one event at a time to subscribers on loopback sockets in another process, and waits until all have it.
// "floor" only writes a finished frame of the same size once to each socket. The difference is Fanfare's own cost.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		if n > size(5000, 100) {
			break
		}
		for _, c := range []struct {
			name  string
			start func(b *testing.B, n int) (send func(), swarm *swarm)
		}{{"floor", startFloor}, {"fanfare", startServer}} {
			b.Run(fmt.Sprintf("subscribers=%d/server=%s", n, c.name), func(b *testing.B) {
				send, swarm := c.start(b, n)
				send() // the first event pays for what is made when needed
				swarm.wait()
				runtime.GC()
				cpu, allocs := usage(b)
				for b.Loop() {
					send()
					swarm.wait()
				}
				elapsed := b.Elapsed()
				cpuAfter, allocsAfter := usage(b)
				deliveries := float64(b.N) * float64(n)
				b.ReportMetric(float64(elapsed)/deliveries, "ns/delivery")
				b.ReportMetric(float64(cpuAfter-cpu)/deliveries, "cpu-ns/delivery")
				b.ReportMetric(float64(allocsAfter-allocs)/deliveries, "allocs/delivery")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkPublishLatencySockets measures the distribution of the duration of Server.Publish with 10,000 streams on the key: when
// all have the last event (idle), and 1 ms after another publish, while the wakers work on that (busy). The clients read on the
// same cores (here), or are stopped meanwhile, as if they were on other machines (elsewhere).
func BenchmarkPublishLatencySockets(b *testing.B) {
	n := size(10_000, 100)
	for _, c := range []struct {
		name            string
		busy, elsewhere bool
	}{{"idle/clients=here", false, false}, {"busy/clients=here", true, false}, {"idle/clients=elsewhere", false, true}, {"busy/clients=elsewhere", true, true}} {
		b.Run(fmt.Sprintf("%s/subscribers=%d", c.name, n), func(b *testing.B) {
			send, swarm := startServer(b, n)
			send()
			swarm.wait()
			var calls, cpu []time.Duration
			runtime.LockOSThread() // for its clock
			defer runtime.UnlockOSThread()
			unread := 0
			publish := func() {
				before, cpuBefore := time.Now(), threadTime(b)
				send()
				calls, cpu = append(calls, time.Since(before)), append(cpu, threadTime(b)-cpuBefore)
				unread++
			}
			read := func() {
				for ; unread > 0; unread-- {
					swarm.wait()
				}
			}
			if c.elsewhere {
				swarm.signal(syscall.SIGSTOP)
			}
			for b.Loop() {
				publish()
				if c.busy {
					calls, cpu = calls[:len(calls)-1], cpu[:len(cpu)-1] // the second one is meant
					time.Sleep(time.Millisecond)
					publish()
				}
				switch {
				case !c.elsewhere:
					read()
				case unread < 32: // no socket is full
					time.Sleep(time.Duration(n) * 20 * time.Microsecond) // the wakers have written
				default:
					swarm.signal(syscall.SIGCONT)
					read()
					swarm.signal(syscall.SIGSTOP)
				}
			}
			slices.Sort(calls)
			slices.Sort(cpu)
			b.ReportMetric(float64(calls[len(calls)/2]), "p50-ns")
			b.ReportMetric(float64(calls[len(calls)*99/100]), "p99-ns")
			b.ReportMetric(float64(cpu[len(cpu)*99/100]), "p99-cpu-ns")
			b.ReportMetric(0, "ns/op") // waits and all: says nothing
		})
	}
}

// threadTime is the processor time of the calling thread.
func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// usage returns the processor time of this process, user and system, and its number of allocations.
func usage(b *testing.B) (cpu time.Duration, allocs uint64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), m.Mallocs
}

// startServer starts Fanfare with n streams.
func startServer(b *testing.B, n int) (send func(), s *swarm) {
	e := start(b, engine.Options{})
	srv, err := transport.NewServer(e, transport.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(srv.Close)
	ln, err := transport.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s = startSwarm(b, ln.Addr().(*net.TCPAddr).Port, n)
	eventually.Equal(b, "subscribers (is RLIMIT_NOFILE large enough?)", n, func() int {
		select {
		case err := <-served:
			b.Fatal("the server has ended: ", err)
		default:
		}
		return e.Count("k")
	})
	ev := codec.Event{Data: []byte(eventData)}
	return func() {
		if _, err := srv.Publish("k", ev); err != nil {
			b.Fatal(err)
		}
	}, s
}

// startFloor accepts n connections on sockets that Go's poller and scheduler do not know.
func startFloor(b *testing.B, n int) (send func(), s *swarm) {
	check := func(err error) {
		if err != nil {
			b.Fatal("floor: ", err)
		}
	}
	ln, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(err)
	b.Cleanup(func() { _ = syscall.Close(ln) })
	check(syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(ln, syscall.SOMAXCONN))
	// A time limit for accept, so that it does not wait for a swarm that has failed. Accepted sockets inherit it.
	check(syscall.SetsockoptTimeval(ln, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 60}))
	name, err := syscall.Getsockname(ln)
	check(err)
	s = startSwarm(b, name.(*syscall.SockaddrInet4).Port, n)
	fds := make([]int, n)
	request := make([]byte, 1024)
	for i := range fds {
		fds[i], err = again(func() (int, error) {
			fd, _, err := syscall.Accept4(ln, syscall.SOCK_CLOEXEC)
			return fd, err
		})
		check(err)
		b.Cleanup(func() { _ = syscall.Close(fds[i]) })
		_, err = again(func() (int, error) { return syscall.Read(fds[i], request) })
		check(err)
		check(syscall.SetsockoptInt(fds[i], syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1))
		check(syscall.SetNonblock(fds[i], true))
	}
	finished := []byte("id: mf3k2a9x1b-42\ndata: " + eventData + "\n\n")
	return func() {
		for _, fd := range fds {
			// Safety: the kernel reads len(finished) bytes of finished, and this function keeps finished alive.
			wrote, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(finished))), uintptr(len(finished)),
				syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
			if errno != 0 || int(wrote) != len(finished) {
				b.Fatal("floor: wrote ", wrote, " bytes: ", errno)
			}
		}
	}, s
}

// again repeats a system call that a signal interrupted. The kernel does not repeat it for a socket with a time limit, and Go
// sends signals to its threads to preempt them.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != syscall.EINTR {
			return n, err
		}
	}
}
