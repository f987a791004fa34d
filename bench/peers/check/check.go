package check

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"fanfare/bench/peers/catalog"
)

// Size is the size of a check.
type Size struct {
	Subscribers int // on each key
	Events      int // of each key
	Keys        int
}

// Standard is the size that the command uses.
var Standard = Size{Subscribers: 50, Events: 200, Keys: 3}

// within bounds the time of a whole check.
const within = 60 * time.Second

// settle is how long to wait for a peer to register its subscribers if its head does not show that it has.
const settle = 500 * time.Millisecond

// Run opens the subscribers, publishes, and reads until each has all events of its key. It fails at the first event that is
// missing, duplicated, out of order or of another key.
func Run(ctx context.Context, peer catalog.Peer, plan catalog.Plan, size Size) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := newClient(peer, plan)
	if err != nil {
		return err
	}
	var streams []*stream
	defer func() {
		for _, s := range streams {
			_ = s.conn.Close()
		}
	}()
	for i := range size.Keys * size.Subscribers {
		s, err := c.subscribe(ctx, key(i%size.Keys))
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		streams = append(streams, s)
		if !peer.Routes.HoldsHead {
			if err := s.head(); err != nil {
				return fmt.Errorf("subscriber %d: %w", i, err)
			}
		}
	}
	if peer.Routes.HoldsHead || peer.Routes.HeadFirst {
		time.Sleep(settle)
	}

	failed := make(chan error, len(streams)+1)
	var wg sync.WaitGroup
	for i, s := range streams {
		wg.Go(func() {
			if err := s.expect(peer.Routes.HoldsHead, i%size.Keys, size.Events); err != nil {
				failed <- fmt.Errorf("subscriber %d: %w", i, err)
				cancel()
			}
		})
	}
	if err := c.publishAll(ctx, size); err != nil {
		failed <- err
		cancel()
	}
	wg.Wait()
	close(failed)
	return <-failed // the first error, or nil
}

func key(i int) string { return fmt.Sprintf("key %d/ü&=", i) }

func (c *client) publishAll(ctx context.Context, size Size) error {
	for n := 1; n <= size.Events; n++ {
		for k := range size.Keys {
			if err := c.publish(ctx, key(k), payload(k, n)); err != nil {
				return fmt.Errorf("event %d of key %d: %w", n, k, err)
			}
		}
	}
	// Publish one more event at the end. A duplicate arrives before it.
	for k := range size.Keys {
		if err := c.publish(ctx, key(k), payload(k, size.Events+1)); err != nil {
			return err
		}
	}
	return nil
}

// payload is JSON, which all peers accept. Some wrap it in more JSON.
func payload(key, n int) string { return fmt.Sprintf(`{"check":%d,"of":%d}`, n, key) }

var payloadForm = regexp.MustCompile(`\{"check":(\d+),"of":(\d+)\}`)

func (s *stream) expect(headFirst bool, key, events int) error {
	if headFirst {
		if err := s.head(); err != nil {
			return err
		}
	}
	for want := 1; want <= events+1; {
		data, err := s.data()
		if err != nil {
			return fmt.Errorf("got %d of %d events: %w", want-1, events+1, err)
		}
		for _, m := range payloadForm.FindAllStringSubmatch(data, -1) { // centrifuge sends several in one event
			n, err1 := strconv.Atoi(m[1])
			of, err2 := strconv.Atoi(m[2])
			switch {
			case err1 != nil || err2 != nil:
				return errors.Join(err1, err2)
			case of != key:
				return fmt.Errorf("event %d of key %d arrived at a subscriber of key %d", n, of, key)
			case n != want:
				return fmt.Errorf("event %d arrived in place of event %d", n, want)
			}
			want++
		}
	}
	return nil
}

// Probe waits until an event is delivered. Until then a peer is not ready, even if its ports are open.
func Probe(ctx context.Context, peer catalog.Peer, plan catalog.Plan) error {
	c, err := newClient(peer, plan)
	if err != nil {
		return err
	}
	err = errors.New("no attempt was made")
	for ctx.Err() == nil {
		if err = c.probe(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return err
}

const probeKey = "probe"

func (c *client) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := c.subscribe(ctx, probeKey)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	if !c.peer.Routes.HoldsHead {
		if err := s.head(); err != nil {
			return err
		}
	}
	got := make(chan error, 1)
	go func() { got <- s.expectAny(c.peer.Routes.HoldsHead) }()
	for {
		if err := c.publish(ctx, probeKey, payload(0, 0)); err != nil {
			return err
		}
		select {
		case err := <-got:
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *stream) expectAny(headFirst bool) error {
	if headFirst {
		if err := s.head(); err != nil {
			return err
		}
	}
	for {
		data, err := s.data()
		if err != nil || payloadForm.MatchString(data) {
			return err
		}
	}
}
