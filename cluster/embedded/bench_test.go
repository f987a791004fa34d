package embedded

import (
	"fmt"
	"strings"
	"testing"

	"fanfare/cluster"
	"fanfare/internal/test/logbench"
)

// BenchmarkAppend appends events of 64 bytes from some goroutines, each of which waits for its event.
func BenchmarkAppend(b *testing.B) {
	for f := FsyncGroup; f <= FsyncInterval; f++ {
		for _, goroutines := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/waiting=%d", f, goroutines), func(b *testing.B) {
				l, _ := open(b, Options{Dir: b.TempDir(), Fsync: f})
				message := event(strings.Repeat("x", 56))
				b.ResetTimer()
				logbench.Append(b, l, goroutines, func(int, int) cluster.Message { return message })
			})
		}
	}
}
