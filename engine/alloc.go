package engine

// newEvent allocates an Event together with n bytes of memory for its frame. Up to largestClass bytes this is one
// allocation, so that a publish costs one. Larger frames cost two, because copying them costs more than the second
// allocation.
//
// The Event of eventSize bytes and the bytes after it fill the size classes of the Go allocator (96, 128, 192, …, 4864
// bytes). So at most about a third of an allocation is unused. Above 512 bytes the allocator puts a header of
// mallocHeader bytes in front of objects that contain pointers.
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
	case n <= 704:
		x := new(struct {
			Event
			b [768 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 960:
		x := new(struct {
			Event
			b [1024 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 1472:
		x := new(struct {
			Event
			b [1536 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 1984:
		x := new(struct {
			Event
			b [2048 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 3008:
		x := new(struct {
			Event
			b [3072 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= 4032:
		x := new(struct {
			Event
			b [4096 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	case n <= largestClass:
		x := new(struct {
			Event
			b [4864 - eventSize - mallocHeader]byte
		})
		return &x.Event, x.b[:n:n]
	default:
		return new(Event), make([]byte, n)
	}
}

const (
	eventSize    = 56 // unsafe.Sizeof(Event{}), asserted by a test
	mallocHeader = 8
	largestClass = 4864 - eventSize - mallocHeader
)
