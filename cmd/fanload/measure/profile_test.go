//go:build linux

package measure

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestProfileIsTheHistogram to 0.8 %, however it was cut into intervals and carried.
func TestProfileIsTheHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var all, window, sum Histogram
	var joined Profile
	for range 10 {
		for range 5000 {
			v := int64(1 + r.ExpFloat64()*r.ExpFloat64()*20_000)
			window.Record(v)
			all.Record(v)
		}
		p := window.Drain(&sum)
		b, err := json.Marshal(p)
		if err != nil || window.Count() != 0 {
			t.Fatal(err, window.Count())
		}
		var sent Profile
		if err := json.Unmarshal(b, &sent); err != nil || !reflect.DeepEqual(sent, p) {
			t.Fatalf("%v: %s", err, b)
		}
		joined = joined.Merge(sent)
	}
	for i := 1; i < len(joined); i++ {
		if joined[i][0] <= joined[i-1][0] {
			t.Fatalf("%v behind %v", joined[i], joined[i-1])
		}
	}
	if sum.Summary() != all.Summary() {
		t.Errorf("the sum is %+v, want %+v", sum.Summary(), all.Summary())
	}
	got, want := joined.Spread(), all.Summary()
	if got.Count != want.Count || joined.Count() != 50_000 {
		t.Errorf("%d recordings, want %d", got.Count, want.Count)
	}
	for name, pair := range map[string][2]int64{
		"p50": {got.P50, want.P50}, "p99": {got.P99, want.P99}, "p99.9": {got.P999, want.P999}, "max": {got.Max, want.Max},
	} {
		if f := float64(pair[0]) / float64(pair[1]); f < 0.999 || f > 1.009 {
			t.Errorf("%s is %d, the histogram says %d", name, pair[0], pair[1])
		}
	}
}

// TestProfileIsSmall, whatever was recorded: a long run keeps many.
func TestProfileIsSmall(t *testing.T) {
	var h Histogram
	for v := int64(1); v < highestMicros; v += 1 + v/5000 {
		h.Record(v)
	}
	var want Profile // by the library's own reading of its counts
	for _, b := range h.h.Distribution() {
		if b.Count > 0 {
			want = want.add(Bar{coarse(b.To), b.Count})
		}
	}
	if p := h.Drain(new(Histogram)); len(p) > 3300 || !reflect.DeepEqual(p, want) {
		t.Errorf("%d bars, want %d", len(p), len(want))
	}
}

func TestEmptyProfile(t *testing.T) {
	var h Histogram
	p := h.Drain(new(Histogram))
	if p != nil || p.Spread() != nil || len(p.Merge(nil)) != 0 || p.Count() != 0 {
		t.Errorf("%v", p)
	}
	h.Record(7)
	one := h.Drain(new(Histogram))
	if got := p.Merge(one); !reflect.DeepEqual(got, Profile{{7, 1}}) {
		t.Errorf("%v", got)
	}
	both := one.Merge(one)
	if !reflect.DeepEqual(both, Profile{{7, 2}}) || one[0][1] != 1 || *both.Spread() != (Spread{2, 7, 7, 7, 7}) {
		t.Errorf("%v of %v", both, one)
	}
}

func BenchmarkDrain(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	var one, other Histogram
	for range 20_000 {
		one.Record(int64(200 + r.ExpFloat64()*3_000))
	}
	b.ReportAllocs()
	for b.Loop() {
		one.Drain(&other)
		one, other = other, one
	}
}
