//go:build linux

package swarm

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/codec"
)

const (
	readBytes = 256 << 10 // one buffer for all subscribers of a loop
	waitBatch = 512       // sockets taken from epoll at once
	tickEvery = 5_000     // microseconds between two checks of timers
	idleEvery = 50_000    // the same while nothing is being opened
	sweepTime = 50_000    // microseconds between two checks for connects that take too long
	plainText = 16 << 10  // the largest plaintext of a TLS record (RFC 8446 5.1)

	// epoll's data. A subscriber's is its slot, the n-th carrier's carrierSlot-n.
	wakeSlot    = -1 // the command channel's eventfd
	carrierSlot = -2
)

// loop is one epoll loop with its subscribers. Everything belongs to its goroutine, except the command channel, ended, and the
// fields that mu guards.
type loop struct {
	plan       *plan.Plan
	number     int // in its process
	addr       netip.AddrPort
	loopsOfAll float64 // the number of loops in all processes; rates are divided by it
	subs       []subscriber
	carriers   []*carrier // HTTP/2: the connections; empty: HTTP/1.1
	epoll      int
	wake       int // eventfd
	buf        []byte
	plain      []byte      // the plaintext of a record; nil: http
	trust      *tls.Config // nil: http
	request    *plan.Renderer
	keys       *plan.Keys

	ledger *ledger.Ledger // nil: what is published is not known

	commands chan func()
	quit     chan struct{}
	quitOnce sync.Once
	ended    chan struct{} // closed when the goroutine has ended; then failed may be read
	// The handshakes under way. The loop's goroutine starts them, each sends its result as a command, and closing its socket ends
	// it.
	handshakes sync.WaitGroup
	failed     error

	now         int64
	counts      Counts
	result      Result
	measureFrom int64
	live        []int32 // open subscribers of each key

	idle       int64 // microseconds between two ticks while nothing is being opened
	queue      []int // subscribers to open, in order
	allowance  float64
	pacedAt    int64
	nextSweep  int64
	nextTick   int64
	expecting  bool     // the ledger knows what subscribers must get that join from now on
	fresh      []fresh  // subscribers whose requests the server may not have read yet, in order
	leavers    []leaver // subscribers that churned and had missed events
	leaving    []int32  // slots of the subscribers that are about to leave
	churnRate  float64
	churnAt    int64
	churnDue   float64
	random     *rand.Rand
	awaits     []await     // by key; made at the first await
	awaiting   int         // how many awaits are under way
	current    *subscriber // the subscriber whose bytes are being parsed
	emit       func(codec.Message)
	feed       func([]byte)
	parseError error

	mu       sync.Mutex
	snapshot Counts // of counts, for others
}

func newLoop(p *plan.Plan, addr netip.AddrPort, mine []int, loops float64) (*loop, error) {
	request, err := p.Subscribe.Compile("subscribe")
	if err != nil {
		return nil, err
	}
	keys, err := p.KeyNames()
	if err != nil {
		return nil, err
	}
	var trust *tls.Config
	var plain []byte
	if p.Certified != "" {
		protocol := plan.HTTP1
		if p.HTTP2 {
			protocol = plan.HTTP2
		}
		if trust, err = p.Trust.Config(p.Certified, protocol); err != nil {
			return nil, err
		}
		plain = make([]byte, plainText)
	}
	l := &loop{
		plan: p, addr: addr, loopsOfAll: loops, request: request, keys: keys, trust: trust, plain: plain,
		subs: make([]subscriber, len(mine)), buf: make([]byte, readBytes), epoll: -1, wake: -1,
		commands: make(chan func(), 16), quit: make(chan struct{}), ended: make(chan struct{}),
		live: make([]int32, p.Keys), measureFrom: 1<<63 - 1,
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	l.idle = idleEvery
	if every := p.Status.Microseconds(); every > 0 { // counts must not be older than the samples that read them
		l.idle = max(min(l.idle, every), tickEvery)
	}
	l.result.Statuses, l.result.Errors, l.result.Ciphers = map[string]int64{}, map[string]int64{}, map[string]int64{}
	l.result.Failures = map[string]int64{}
	l.emit, l.feed = l.onEvent, l.onContent
	comment := l.onComment
	for i, index := range mine {
		l.subs[i] = subscriber{index: index, slot: int32(i), key: index % p.Keys, fd: -1, stalls: p.Stalls(index)}
		l.subs[i].parser.OnComment = comment
	}
	if p.HTTP2 {
		l.makeCarriers()
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeSlot})
	}
	if err != nil {
		l.closeFiles()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return l, nil
}

// closeFiles must be called last. send may write to wake while the goroutine runs, and checks ended under mu.
func (l *loop) closeFiles() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fd := range []*int{&l.epoll, &l.wake} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// send passes f to the loop's goroutine. It returns false if that has ended.
func (l *loop) send(f func()) bool {
	select {
	case l.commands <- f:
		l.nudge()
		return true
	case <-l.ended:
		return false
	}
}

func (l *loop) nudge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wake >= 0 {
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // after EAGAIN the loop wakes in any case
	}
}

func (l *loop) stop() {
	l.quitOnce.Do(func() { close(l.quit) })
	l.nudge()
}

// err says why the loop has ended. Call it after ended is closed.
func (l *loop) err() error {
	<-l.ended
	if l.failed != nil {
		return l.failed
	}
	return errors.New("the subscribers' loop has ended")
}

// run is the body of the loop's goroutine.
func (l *loop) run() {
	runtime.LockOSThread() // one thread per loop, which ends with the goroutine
	defer close(l.ended)
	defer l.closeFiles()
	defer l.closeAll()
	events := make([]unix.EpollEvent, waitBatch)
	for {
		n, err := unix.EpollWait(l.epoll, events, l.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			l.failed = fmt.Errorf("epoll: %w", err)
			return
		}
		l.now = measure.Now()
		for i := range max(0, n) {
			switch slot := events[i].Fd; {
			case slot == wakeSlot:
				var drop [8]byte
				_, _ = unix.Read(l.wake, drop[:])
			case slot <= carrierSlot:
				l.readyCarrier(l.carriers[carrierSlot-slot], uint32(events[i].Pad), events[i].Events)
			default:
				l.ready(&l.subs[slot], uint32(events[i].Pad), events[i].Events)
			}
		}
		if l.runCommands() {
			return
		}
		l.pump()
		if l.now >= l.nextTick {
			l.tick()
		}
	}
}

// runCommands runs the commands that were sent. It reports whether the loop must stop.
func (l *loop) runCommands() bool {
	for {
		select {
		case f := <-l.commands:
			f()
		case <-l.quit:
			return true
		default:
			return false
		}
	}
}

// timeout is the timeout for epoll in milliseconds.
func (l *loop) timeout() int {
	return int(max(0, (l.nextTick-measure.Now()+999)/1000))
}

// tick does what depends on time: reconnects, churn, timeouts, and the snapshot of the counts.
func (l *loop) tick() {
	l.expectFresh()
	l.doChurn()
	if l.counts.Opening+l.counts.Waiting > 0 && l.now >= l.nextSweep {
		l.sweep()
		l.nextSweep = l.now + sweepTime
		if l.counts.Waiting > 0 {
			l.nextSweep = l.now + tickEvery
		}
	}
	busy := len(l.queue) > 0 || len(l.fresh) > 0 || l.counts.Opening+l.counts.Waiting > 0 || l.churnRate > 0
	l.nextTick = l.now + l.idle
	if busy {
		l.nextTick = l.now + tickEvery
	}
	l.publish()
}

// publish stores the snapshot of the counts.
func (l *loop) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshot = l.counts
}

// nowAgain reads the clock after a system call that may have taken long.
func (l *loop) nowAgain() int64 {
	l.now = measure.Now()
	return l.now
}
