package engine

// newEvent allocates an Event together with n bytes of memory for its frame:
// one allocation up to largestClass bytes, so that a publish costs one, and
// two beyond, where copying the frame costs more than the second allocation.
//
// The classes fill the Go allocator's size classes (96, 128, 192, …, 4096
// bytes) behind the Event of eventSize bytes, so that at most a third of an
// allocation is unused.
func newEvent(n int) (*Event, []byte) {
	switch {
	case n <= 40:
		x := new(struct {
			Event
			b [96 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 72:
		x := new(struct {
			Event
			b [128 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 136:
		x := new(struct {
			Event
			b [192 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 200:
		x := new(struct {
			Event
			b [256 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 328:
		x := new(struct {
			Event
			b [384 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 456:
		x := new(struct {
			Event
			b [512 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 712:
		x := new(struct {
			Event
			b [768 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 968:
		x := new(struct {
			Event
			b [1024 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 1480:
		x := new(struct {
			Event
			b [1536 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 1992:
		x := new(struct {
			Event
			b [2048 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= largestClass:
		x := new(struct {
			Event
			b [4096 - eventSize]byte
		})
		return &x.Event, x.b[:n:n]
	default:
		return new(Event), make([]byte, n)
	}
}

// eventSize is unsafe.Sizeof(Event{}), asserted by a test.
const (
	eventSize    = 56
	largestClass = 4096 - eventSize
)
