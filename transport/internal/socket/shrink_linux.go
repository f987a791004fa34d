package socket

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// crypto/tls keeps two buffers that the ClientHello has made grow, 2.7 kB for each
// connection, of which an event stream never needs a byte again: its clients send
// nothing. There is no method to drop them.
var (
	rawInput = bufferOffset("rawInput") // records as they came
	hand     = bufferOffset("hand")     // messages of the handshake
)

// bufferOffset is the place of a field of tls.Conn, 0 if this version of Go has no
// such field of type bytes.Buffer.
func bufferOffset(field string) uintptr {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(field)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return 0
	}
	return f.Offset
}

// shrink drops the buffers of c that are empty. Nobody else may use c meanwhile.
func shrink(c *tls.Conn) {
	for _, offset := range []uintptr{rawInput, hand} {
		if offset == 0 {
			continue
		}
		// Safety: reflect has found a field of this type at this place. An empty
		// bytes.Buffer behaves like its zero value: crypto/tls keeps no reference into
		// one once it is empty, but for c.input, which the caller has read to its end.
		b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), offset))
		if b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}
