package engine

import (
	"runtime"
	"sync/atomic"
)

// waker is a goroutine that notifies subscribers of new events. So a publish costs its caller the same with one
// subscriber or 20,000. A segment always belongs to the same waker: no two goroutines scan it at the same time, and the
// state of a subscriber stays in the cache of one core.
type waker struct {
	engine *Engine
	// head is the queue, a stack of segments. Publishers push onto it by CAS, and the waker takes it as a whole.
	head atomic.Pointer[segment]
	// signal holds a token if the queue may have become non-empty since the waker last looked.
	signal chan struct{}
}

func newWaker(e *Engine) *waker { return &waker{engine: e, signal: make(chan struct{}, 1)} }

// schedule puts the segment into its waker's queue, unless it is there already.
//
// No wake-up is lost. The caller has published its event before. If queued is set, the waker has not cleared it yet,
// and scans the segment after clearing it. If queued is not set, the caller pushes the segment. If the queue was empty,
// the caller signals the waker. If it was not empty, the Swap that takes the segment below also takes this one, and
// whoever pushed the lowest one has signaled.
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
			w.wake()
		}
		return
	}
}

// wake signals the waker that its queue is not empty.
func (w *waker) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// run serves the queue until stop is closed.
func (w *waker) run(stop <-chan struct{}) {
	for {
		// Take the whole queue, or wait.
		stack := w.head.Swap(nil)
		if stack == nil {
			select {
			case <-w.signal:
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

		// Reverse the stack: first come, first served.
		var first *segment
		for stack != nil {
			stack.next, first, stack = first, stack, stack.next
		}

		// Notify the subscribers of each segment.
		for seg := first; seg != nil; {
			next := seg.next
			seg.next = nil
			seg.notifySubscribers()
			seg = next
		}
	}
}

// yieldEvery is the number of subscribers that a waker notifies before it lets other goroutines run. With inline
// delivery each notification is a socket write of about 6 µs. During the write the scheduler does not know that the
// thread is in the kernel.
const yieldEvery = 128

// notifySubscribers schedules the other segments of the key if seg is the first one, and notifies seg's subscribers.
func (seg *segment) notifySubscribers() {
	seg.queued.Store(false) // before the scan (I9): what is published from now on queues the segment again
	racePoint()
	if list := seg.key.segments.Load(); list != nil && seg.isFirst(*list) {
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

// isFirst reports whether seg is, or once was, the first segment of its key. Only a full first segment has others
// beside it, and a first segment is replaced only while it is the only one.
func (seg *segment) isFirst(list []*segment) bool {
	return list[0] == seg || len(seg.slots) < segmentSize
}
