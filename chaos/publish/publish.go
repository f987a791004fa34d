// Package publish has publishers that number their events, repeat a request until they know what became of it, and keep
// a record of that.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"fanfare/chaos/record"
)

// Config says how a publisher works. Key, Nodes and Book are required.
type Config struct {
	Key   string   // record.Broadcast publishes to all keys
	Nodes []string // where the publish API of each node is, such as http://127.0.0.1:8081
	Book  *record.Book
	Token string        // the nodes' publish token, or ""
	Run   string        // makes idempotency keys unique over several runs
	Size  int           // of the filler, in bytes
	Pause time.Duration // between an answer and the next event
	First int           // the node for the first event; the others follow in turns
	// Attempt bounds one request. Default 20 s.
	Attempt time.Duration
	// GiveUp is how long after the first attempt there may be another one. Default 25 s: within duplicateWindow.
	GiveUp time.Duration
	// Window is the servers' duplicateWindow. Default 30 s.
	Window time.Duration
}

// Publisher publishes the events of one key, one after the other.
type Publisher struct {
	c      Config
	client *http.Client
	at     int // the next node
	last   atomic.Pointer[error]
}

// New returns a publisher.
func New(c Config) *Publisher {
	if c.Attempt == 0 {
		c.Attempt = 20 * time.Second
	}
	if c.GiveUp == 0 {
		c.GiveUp = 25 * time.Second
	}
	if c.Window == 0 {
		c.Window = 30 * time.Second
	}
	return &Publisher{c: c, client: &http.Client{Transport: &http.Transport{}}, at: c.First}
}

// Run publishes until ctx is done. The event under way is finished, or given up, before Run returns.
func (p *Publisher) Run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	for ctx.Err() == nil {
		p.Next()
		select {
		case <-ctx.Done():
		case <-time.After(p.c.Pause):
		}
	}
}

// errRefused: a server has said that it will not take the event.
var errRefused = errors.New("refused")

// Next publishes one event and returns what became of it.
func (p *Publisher) Next() record.Number {
	began := time.Now()
	n := p.c.Book.Begin(p.c.Key, began.UnixMicro())
	body := record.Data(p.c.Key, n, p.c.Size)
	result := record.Number{Outcome: record.Refused}
	for unsure := 0; ; {
		id, outcome, err := p.attempt(n, body)
		p.last.Store(&err)
		if outcome == record.Stored || outcome == record.Queued {
			result.Outcome, result.ID = outcome, id
			break
		}
		// A refusal ends it, but does not undo an earlier attempt.
		if errors.Is(err, errRefused) {
			break
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			unsure++
			result.Outcome = record.Unknown
		}
		if time.Since(began) > p.c.GiveUp {
			break
		}
		p.at++
		time.Sleep(50 * time.Millisecond)
		if unsure > 0 {
			result.Again = true
		}
	}
	result.Stale = result.Again && time.Since(began) > p.c.Window
	result.Took = time.Since(began).Microseconds()
	p.c.Book.End(p.c.Key, n, result)
	p.at++
	return result
}

// LastError says why the newest attempt did not succeed; nil if it did.
func (p *Publisher) LastError() error {
	if err := p.last.Load(); err != nil {
		return *err
	}
	return nil
}

// attempt sends the event once. err is nil if a server has taken it.
func (p *Publisher) attempt(n int64, body []byte) (id string, outcome record.Outcome, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.c.Attempt)
	defer cancel()
	target := p.c.Nodes[p.at%len(p.c.Nodes)] + "/publish?key=" + url.QueryEscape(p.c.Key)
	if p.c.Key == record.Broadcast {
		target = p.c.Nodes[p.at%len(p.c.Nodes)] + "/publishAll"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return "", record.Refused, errors.Join(errRefused, err)
	}
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%s-%d", p.c.Run, p.c.Key, n))
	if p.c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.c.Token)
	}
	req.GetBody = nil // net/http must not repeat the request by itself: the record would not know
	resp, err := p.client.Do(req)
	if err != nil {
		return "", record.Unknown, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", record.Unknown, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		var answer struct {
			ID     string `json:"id"`
			Stored *bool  `json:"stored"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return "", record.Unknown, fmt.Errorf("%.200q: %w", text, err)
		}
		if resp.StatusCode == http.StatusAccepted || answer.Stored != nil && !*answer.Stored {
			return answer.ID, record.Queued, nil
		}
		return answer.ID, record.Stored, nil
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return "", record.Unknown, fmt.Errorf("%s: %.200s", resp.Status, text)
	}
	return "", record.Refused, errors.Join(errRefused, fmt.Errorf("%s: %.200s", resp.Status, text))
}
