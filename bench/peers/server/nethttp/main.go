// Command nethttp is the server that one writes with net/http alone: a handler that waits for events, writes each and flushes it.
package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"fanfare/bench/peers/host"
)

// queue is how many events wait for a subscriber. A publisher waits when it is full, so nothing is lost.
const queue = 64

type subscriber struct {
	events chan []byte
	gone   <-chan struct{}
}

type hub struct {
	mu   sync.Mutex
	keys map[string]map[*subscriber]struct{}
}

func main() {
	h := &hub{keys: map[string]map[*subscriber]struct{}{}}
	host.Run(h, h.publish)
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("connectKey")
	s := &subscriber{events: make(chan []byte, queue), gone: r.Context().Done()}
	h.add(key, s)
	defer h.remove(key, s)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	for {
		if flush.Flush() != nil {
			return
		}
		select {
		case frame := <-s.events:
			if _, err := w.Write(frame); err != nil {
				return
			}
		case <-s.gone:
			return
		}
	}
}

func (h *hub) add(key string, s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[key] == nil {
		h.keys[key] = map[*subscriber]struct{}{}
	}
	h.keys[key][s] = struct{}{}
}

func (h *hub) remove(key string, s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.keys[key], s)
}

// publish holds the lock until every subscriber has the event in its queue, or has gone. So events stay in order.
func (h *hub) publish(ctx context.Context, key string, data []byte) error {
	frame := fmt.Appendf(nil, "data: %s\n\n", data)
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.keys[key] {
		select {
		case s.events <- frame:
		case <-s.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
