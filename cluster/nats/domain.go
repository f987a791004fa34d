package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// A server may be a leaf node: it passes messages of an account on to a hub. Both may have a JetStream, each with a domain of its own.
// Calls of the API reach the one that their subject names (see Log.api). Messages for the log's subjects have no domain: each stream
// that has these subjects stores them, in whatever domain. So there must be one such stream only.

const (
	expectStreamHeader = "Nats-Expected-Stream"
	probeToken         = "=probe"
	probeTimeout       = time.Second
	// newStreamWait is longer than the servers of a cluster need until all of them know a new stream.
	newStreamWait = 3 * time.Second
)

// checkElsewhere returns an error if a stream of another domain has the subjects of partition p. It is called before the stream is
// created: a node whose server is a leaf node, and which has no natsDomain, would otherwise begin a second log on the leaf node.
//
// It asks by a message that no stream stores, because it expects a stream with a random name. The refusal names the stream.
func (l *Log) checkElsewhere(ctx context.Context, p int) error {
	probe := &natsgo.Msg{Subject: l.subjects.partition(p) + probeToken, Header: natsgo.Header{expectStreamHeader: {randomName()}}}
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	msg, err := l.nc.RequestMsgWithContext(short, probe)
	if err != nil {
		return ctx.Err() // nobody has these subjects, or only programs that do not answer
	}
	var refusal struct {
		Stream string `json:"stream"`
	}
	if json.Unmarshal(msg.Data, &refusal) != nil || refusal.Stream == "" {
		return nil
	}
	// Another node may have just created the stream in this domain, and not all servers of the cluster know it yet.
	for began := time.Now(); time.Since(began) < newStreamWait; {
		var info streamInfo
		if err := l.request(ctx, "STREAM.INFO."+refusal.Stream, nil, &info); !isCode(err, codeStreamNotFound) {
			return ctx.Err() // it is of this domain: the creation finds out what it is
		}
		select {
		case <-time.After(prepareRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the stream %s in another JetStream domain has the subjects %s: set natsDomain to that domain, "+
		"or choose another natsStream", refusal.Stream, l.subjects.all(p))
}

// unreachable reports whether the domain may be reached soon: the leaf node may not be connected yet. began is when Open has asked
// first. Without a domain the answer comes from the server itself, and does not change.
func (l *Log) unreachable(err error, began time.Time) bool {
	return l.o.Domain != "" && errors.Is(err, errNobody) && time.Since(began) < l.o.domainWait
}

// reportOther logs that a stream of another domain stores the events of this log as well.
func (l *Log) reportOther(domain string) {
	l.limiter.Log(l.log, slog.LevelError, "other", "a stream of another JetStream domain stores events of this log as well: "+
		"delete that stream; its acknowledgments are ignored", "domain", domain, "subjects", l.subjects.prefix+".>")
}
