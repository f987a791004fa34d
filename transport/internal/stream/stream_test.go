package stream

import (
	"testing"
	"unsafe"
)

// TestStreamSize: a server may have tens of thousands of streams.
func TestStreamSize(t *testing.T) {
	if size := unsafe.Sizeof(Stream{}); size > 288 {
		t.Errorf("a stream has %d bytes: more than the allocator's class of 288 makes it 320", size)
	}
}
