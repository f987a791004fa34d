package stream

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Limits on the requests for streams per second, of all clients and of each address.
// They are looked at before anybody is asked who may subscribe, so that a storm does not
// reach whoever decides, and each request counts, whatever becomes of it.

// bucket is a token bucket that holds the tokens of one second: so many clients may come
// at once after a quiet second. It is full at first, so its zero value is ready for use.
//
// In the table of addresses it takes 52 bytes. A rate.Limiter of golang.org/x/time takes
// 80 and its place in a map, and does not say when those that it refuses should return.
type bucket struct {
	full    int64 // when it is full again; nanoseconds of connectRates.now
	returns int64 // when the last of those that were told to return will do so
}

// period is the time in which one token comes.
func period(rate int) int64 { return int64(time.Second) / int64(rate) }

// has reports whether there is a token.
func (b *bucket) has(now int64, rate int) bool {
	return max(b.full, now)+period(rate) <= now+int64(time.Second)
}

// take takes a token, which there must be.
func (b *bucket) take(now int64, rate int) { b.full = max(b.full, now) + period(rate) }

// maxReturn bounds the time for which a client is sent away.
const maxReturn = time.Minute

// putOff returns for how long a client is sent away that finds no token. Each one gets a
// time of its own, in the order in which they came, so that those who return stay under
// the rate, by a tenth: the rest is for clients that are new. If that is too long, there
// are more clients than the limit is meant for, and they return at random times.
func (b *bucket) putOff(now int64, rate int) time.Duration {
	at := max(b.returns, now) + period(rate)*10/9
	if at-now > int64(maxReturn) {
		return rand.N(maxReturn)
	}
	b.returns = at
	return time.Duration(at - now)
}

// connectRates has the buckets.
type connectRates struct {
	start time.Time

	mu        sync.Mutex
	all       bucket
	addresses map[uint64]bucket // by addressKey
	swept     int64             // when full buckets were last removed
}

const (
	// maxRateAddresses bounds the addresses with a bucket. A bucket that is full is like
	// none, and one second makes any bucket full, so the table needs one only for each
	// address that came within the last second. If it has no room, an address without
	// one is not limited: somebody who has so many addresses is not stopped by a limit
	// on each, but by the one on all.
	maxRateAddresses = 1 << 16
	// sweepInterval is the least time between two searches for full buckets.
	sweepInterval = int64(100 * time.Millisecond)
)

// addressKey packs an address, or an IPv6 network of 64 bits, so that the table has no
// pointers for the garbage collector. IPv4 is in a part of ::/8 that nobody has.
func addressKey(p netip.Prefix) uint64 {
	if a := p.Addr(); a.Is4() {
		b := a.As4()
		return 1<<32 | uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := p.Addr().As16()
	return binary.BigEndian.Uint64(b[:8])
}

func (r *connectRates) now() int64 { return int64(time.Since(r.start)) }

// admit counts a request, or returns the limit that refuses it and for how long the
// client should stay away. A rate of 0 is no limit.
func (r *connectRates) admit(remote string, rate, perAddress int) (limit string, wait time.Duration) {
	var key uint64
	if perAddress > 0 {
		p, ok := network(remote)
		if key = addressKey(p); !ok {
			perAddress = 0
		}
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var own bucket
	if perAddress > 0 {
		own = r.addresses[key]
		if !own.has(now, perAddress) {
			wait = own.putOff(now, perAddress)
			r.addresses[key] = own
			return LimitConnectRatePerAddress, wait
		}
	}
	if rate > 0 {
		if !r.all.has(now, rate) {
			return LimitConnectRate, r.all.putOff(now, rate)
		}
		r.all.take(now, rate)
	}
	if perAddress > 0 {
		own.take(now, perAddress)
		r.set(now, key, own)
	}
	return "", 0
}

// set keeps the bucket of an address, if there is room.
func (r *connectRates) set(now int64, key uint64, b bucket) {
	if r.addresses == nil {
		r.addresses = map[uint64]bucket{}
	}
	if _, known := r.addresses[key]; !known && len(r.addresses) >= maxRateAddresses {
		if now-r.swept < sweepInterval {
			return
		}
		r.swept = now
		for k, old := range r.addresses {
			if old.full <= now {
				delete(r.addresses, k)
			}
		}
		if len(r.addresses) >= maxRateAddresses {
			return
		}
	}
	r.addresses[key] = b
}

// Admit counts a request for a stream from a client's address, or returns the limit of
// requests per second that refuses it, and for how long the client should stay away, in
// addition to the usual reconnection time.
func (h *Hub) Admit(remote string) (limit string, wait time.Duration) {
	c := h.config.Load()
	if c.MaxConnectRate|c.MaxConnectRatePerAddress == 0 {
		return "", 0
	}
	return h.rates.admit(remote, c.MaxConnectRate, c.MaxConnectRatePerAddress)
}
