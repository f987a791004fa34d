//go:build linux

package measure

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHistogramsMergeAcrossProcesses: what three processes recorded and sent as JSON is what one would have recorded.
func TestHistogramsMergeAcrossProcesses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var all, merged Histogram
	for range 3 {
		var one Histogram
		for range 10_000 {
			v := int64(r.ExpFloat64() * 5000)
			one.Record(v)
			all.Record(v)
		}
		b, err := json.Marshal(&one)
		if err != nil {
			t.Fatal(err)
		}
		var sent Histogram
		if err := json.Unmarshal(b, &sent); err != nil {
			t.Fatal(err)
		}
		merged.Merge(&sent)
	}
	merged.Merge(&Histogram{})
	merged.Merge(nil)
	a, m := all.Summary(), merged.Summary()
	if a != m || a.Count != 30_000 || a.P50 < 3300 || a.P50 > 3700 {
		t.Errorf("merged %+v, at once %+v", m, a)
	}
}

func TestEmptyHistogram(t *testing.T) {
	var h Histogram
	b, err := json.Marshal(&h)
	if err != nil || string(b) != `""` {
		t.Fatalf("%s, %v", b, err)
	}
	if err := json.Unmarshal(b, &h); err != nil || h.Count() != 0 || h.Summary() != (Summary{}) || h.Quantile(99) != 0 {
		t.Errorf("%+v, %v", h.Summary(), err)
	}
	if err := json.Unmarshal([]byte(`"nonsense"`), &h); err == nil {
		t.Error("nonsense was taken for a histogram")
	}
	h.Record(-5)
	h.Record(1 << 60)
	if s := h.Summary(); s.Min != 1 || s.Count != 2 {
		t.Errorf("out of bounds: %+v", s)
	}
}

func TestTallyIsBounded(t *testing.T) {
	m := map[string]int64{}
	for i := range 1000 {
		Tally(m, fmt.Sprint(i))
	}
	if len(m) != kinds+1 || m["others"] != 1000-kinds {
		t.Errorf("%d kinds, %d others", len(m), m["others"])
	}
}

func TestClockIsSharedAndMonotonic(t *testing.T) {
	before := monotonic()
	now := Now()
	after := monotonic()
	if now < before-5 || now > after+5 {
		t.Errorf("%d is not between %d and %d", now, before, after)
	}
}

func fakeProc(t *testing.T, stats map[int]string) string {
	t.Helper()
	dir := t.TempDir()
	for pid, stat := range stats {
		d := filepath.Join(dir, fmt.Sprint(pid))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"stat": stat, "statm": "500 100 50 1 0 1 0\n"} {
			if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestTreeSumsChildren(t *testing.T) {
	stat := func(pid, parent, u, s, cu, cs int) string {
		return fmt.Sprintf("%d (ngi) nx: (x) S %d 1 1 0 -1 0 0 0 0 0 %d %d %d %d 20 0 1 0 100\n", pid, parent, u, s, cu, cs)
	}
	tree := &Tree{Roots: []int{10, 11}, proc: fakeProc(t, map[int]string{
		10: stat(10, 1, 1, 2, 3, 4), 11: stat(11, 10, 10, 0, 0, 0), 12: stat(12, 11, 0, 5, 0, 0), 13: stat(13, 1, 99, 99, 99, 99),
	})}
	u, err := tree.Usage()
	want := Usage{CPU: 25 * 10_000, Resident: 3 * 100 * int64(os.Getpagesize()), Processes: 3}
	if err != nil || u != want {
		t.Errorf("%+v, %v, want %+v", u, err, want)
	}
	if err := os.RemoveAll(filepath.Join(tree.proc, "10")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Usage(); err == nil {
		t.Error("the end of a root is an error")
	}
}

func TestTreeOfThisProcess(t *testing.T) {
	tree, err := NewTree([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
	}
	u, err := tree.Usage()
	if err != nil || u.CPU < 10_000 || u.Resident < 1<<20 || u.Processes < 1 {
		t.Errorf("%+v, %v", u, err)
	}
	if own := CPU(); own < u.CPU-30_000 || own > u.CPU+2_000_000 {
		t.Errorf("own time %d, /proc says %d", own, u.CPU)
	}
	if _, err := NewTree([]int{1 << 30}); err == nil {
		t.Error("a pid that nobody has was taken")
	}
}
