package stream

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/test/race"
)

// TestBucket: after a quiet second so many may come at once as in any second; then one for each token.
func TestBucket(t *testing.T) {
	for _, rate := range []int{1, 3, 1000, 1_000_000} {
		var b bucket
		now, second := int64(5*time.Second), int64(time.Second)
		taken := func() (n int) {
			for b.has(now, rate) {
				b.take(now, rate)
				n++
			}
			return n
		}
		if n := taken(); n != rate {
			t.Errorf("rate %d: %d at once", rate, n)
		}
		now += second/int64(rate) - 2 // nanoseconds
		if b.has(now, rate) {
			t.Errorf("rate %d: a token before its time", rate)
		}
		now += 2
		if n := taken(); n != 1 {
			t.Errorf("rate %d: %d tokens after one period", rate, n)
		}
		now += 100 * second
		if n := taken(); n != rate {
			t.Errorf("rate %d: %d after a long time", rate, n)
		}
	}
}

// arrivals are the times at which clients come.
type arrivals []int64

func (a arrivals) Len() int           { return len(a) }
func (a arrivals) Less(i, j int) bool { return a[i] < a[j] }
func (a arrivals) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(v any)        { *a = append(*a, v.(int64)) }
func (a *arrivals) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// TestReturnsAreSpread: all who come at once and are sent away return under the rate, while others come for the first time, and
// most of them only once.
func TestReturnsAreSpread(t *testing.T) {
	const rate, storm = 100, 3000
	var b bucket
	var coming arrivals
	for range storm {
		coming = append(coming, int64(time.Second)) // all at once
	}
	heap.Init(&coming)
	perSecond := map[int64]int{}
	refused, admitted := 0, 0
	for last := int64(0); len(coming) > 0; {
		now := heap.Pop(&coming).(int64)
		if now < last {
			t.Fatal("back in time")
		}
		last = now
		perSecond[now/int64(time.Second)]++
		if b.has(now, rate) {
			b.take(now, rate)
			admitted++
			continue
		}
		refused++
		if refused > 10*storm {
			t.Fatal("they never get in")
		}
		jitter := time.Second + rand.N(4*time.Second)
		heap.Push(&coming, now+int64(b.putOff(now, rate)+jitter))
	}
	for second, n := range perSecond {
		if second > 1 && n > rate*3/2 { // they come at random, so a little more in one second is possible
			t.Errorf("%d came in second %d", n, second)
		}
	}
	if admitted != storm || refused > storm*5/4 {
		t.Errorf("%d admitted, sent away %d times", admitted, refused)
	}
}

// TestPutOffIsBounded: with more clients than a minute admits, nobody is sent away for longer than that.
func TestPutOffIsBounded(t *testing.T) {
	var b bucket
	for range 1000 {
		if wait := b.putOff(0, 1); wait < 0 || wait > maxReturn {
			t.Fatal(wait)
		}
	}
}

// TestConnectRates: addresses are limited apart, IPv6 by its network, and all together; what one limit refuses takes no token of the
// other.
func TestConnectRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connectRates{start: time.Now()}
		admit := func(remote string) string {
			limit, wait := r.admit(remote, 5, 2)
			if (limit == "") != (wait == 0) {
				t.Errorf("%q, wait %s", limit, wait)
			}
			return limit
		}
		for i, step := range []struct{ remote, want string }{
			{"192.0.2.1:1", ""}, {"[::ffff:192.0.2.1]:2", ""}, {"192.0.2.1:3", LimitConnectRatePerAddress},
			{"[2001:db8::1]:1", ""}, {"[2001:db8::2]:1", ""}, {"[2001:db8::3]:1", LimitConnectRatePerAddress},
			{"192.0.2.2:1", ""}, {"192.0.2.3:1", LimitConnectRate}, {"@", LimitConnectRate}, {"192.0.2.1:9", LimitConnectRatePerAddress},
		} {
			if got := admit(step.remote); got != step.want {
				t.Errorf("step %d, %s: %q, want %q", i, step.remote, got, step.want)
			}
		}
		time.Sleep(time.Second)
		for range 2 { // 192.0.2.3 has both tokens
			if got := admit("192.0.2.3:1"); got != "" {
				t.Error(got)
			}
		}
		if got := admit("192.0.2.3:1"); got != LimitConnectRatePerAddress {
			t.Errorf("%q", got)
		}
		if limit, _ := r.admit("192.0.2.3:1", 5, 0); limit != "" {
			t.Error("limited by a rate of 0")
		}
	})
}

// TestRateTableIsBounded: full buckets make room for new addresses, and without room nobody is shut out.
func TestRateTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := connectRates{start: time.Now()}
		address := func(i int) string { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String() }
		before := heapBytes()
		for i := range maxRateAddresses {
			if limit, _ := r.admit(address(i), 0, 1); limit != "" {
				t.Fatal(limit)
			}
		}
		if grown := heapBytes() - before; !race.Enabled && grown > maxRateAddresses*64 {
			t.Errorf("%d bytes per address", grown/maxRateAddresses)
		} else {
			t.Logf("%d bytes per address", grown/maxRateAddresses)
		}
		fresh := maxRateAddresses
		for range 2 { // not counted: no bucket is full
			if limit, _ := r.admit(address(fresh), 0, 1); limit != "" {
				t.Error(limit)
			}
		}
		if limit, _ := r.admit(address(7), 0, 1); limit == "" {
			t.Error("an address with a bucket is not limited any more")
		}
		time.Sleep(2 * time.Second)
		for i, want := range []string{"", LimitConnectRatePerAddress} {
			if limit, _ := r.admit(address(fresh), 0, 1); limit != want {
				t.Errorf("%d: %q", i, limit)
			}
		}
		if n := len(r.addresses); n > 2 {
			t.Errorf("%d buckets", n)
		}
	})
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestConnectRatesHammer: many at once never get more tokens than there are, of all addresses or of one.
func TestConnectRatesHammer(t *testing.T) {
	const rate, perAddress, addresses = 50, 10, 8
	synctest.Test(t, func(t *testing.T) { // time stands still while goroutines run
		r := connectRates{start: time.Now()}
		for range 3 {
			var admitted [addresses]atomic.Int32
			var running sync.WaitGroup
			for range 8 {
				running.Go(func() {
					for range 200 {
						i := rand.N(addresses)
						if limit, _ := r.admit(fmt.Sprintf("127.0.0.%d:80", i), rate, perAddress); limit == "" {
							admitted[i].Add(1)
						}
					}
				})
			}
			running.Wait()
			all := int32(0)
			for i := range admitted {
				n := admitted[i].Load()
				if all += n; n > perAddress {
					t.Errorf("%d of one address", n)
				}
			}
			if all != rate {
				t.Errorf("%d admitted", all)
			}
			time.Sleep(time.Second)
		}
	})
}
