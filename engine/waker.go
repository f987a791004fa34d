package engine

import (
	"runtime"
	"sync/atomic"
)

// waker is a goroutine that tells subscribers of new events, so that a publish
// costs its caller the same with one subscriber or 20,000. A segment always
// goes to the same waker: no two goroutines scan it at once, and a subscriber's
// state stays in one core's cache.
type waker struct {
	// head is the queue: a stack of segments that publishers push on by CAS and
	// the waker takes as a whole.
	head atomic.Pointer[segment]
	// bell holds a token if the queue may have become non-empty since the waker
	// last looked.
	bell chan struct{}
}

func newWaker() *waker { return &waker{bell: make(chan struct{}, 1)} }

// schedule puts the segment into its waker's queue unless it is there already.
//
// No wake-up is lost: the caller has published its event before. If queued is
// set, the waker has yet to clear it, and scans after that. If it is not, the
// caller pushes; a push onto an empty queue rings the bell, and one onto a
// non-empty queue is taken by the Swap that also takes the segment below,
// whose pusher rang.
func (seg *segment) schedule() {
	if seg.queued.Load() || !seg.queued.CompareAndSwap(false, true) {
		return
	}
	w := seg.w
	for {
		head := w.head.Load()
		seg.next = head
		if !w.head.CompareAndSwap(head, seg) {
			continue
		}
		if head == nil {
			w.wakeUp()
		}
		return
	}
}

func (w *waker) wakeUp() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// run serves the queue until stop is closed.
func (w *waker) run(stop <-chan struct{}) {
	for {
		stack := w.head.Swap(nil)
		if stack == nil {
			select {
			case <-w.bell:
			case <-stop:
				return
			}
			continue
		}
		select {
		case <-stop: // the queue may never be empty
			return
		default:
		}
		// First come, first served.
		var first *segment
		for stack != nil {
			stack.next, first, stack = first, stack, stack.next
		}
		for seg := first; seg != nil; {
			next := seg.next
			seg.next = nil
			seg.serve()
			seg = next
		}
	}
}

// yieldEvery is how many subscribers a waker notifies before it lets other
// goroutines run. With inline delivery each is a socket write of about 6 µs,
// during which the scheduler does not know that the thread is in the kernel.
const yieldEvery = 128

// serve notifies the segment's subscribers.
func (seg *segment) serve() {
	seg.queued.Store(false) // before the scan (I9): what is published from now on queues again
	racePoint()
	if list := seg.key.segments.Load(); list != nil && seg.leads(*list) {
		for _, s := range (*list)[1:] {
			s.schedule()
		}
	}
	n := min(int(seg.n.Load()), len(seg.slots))
	for i := range n {
		if c := seg.slots[i].Load(); c != nil {
			c.sub.Notify()
		}
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
}

// leads reports whether seg is, or once was, the first segment of its key. Only
// a full first segment has others beside it, and the first one is replaced only
// while it is alone.
func (seg *segment) leads(list []*segment) bool {
	return list[0] == seg || len(seg.slots) < segmentSize
}
