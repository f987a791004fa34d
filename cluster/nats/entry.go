package nats

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	natsgo "github.com/nats-io/nats.go"

	"fanfare/cluster"
	"fanfare/engine"
)

// Headers of a message. The payload is the frame.
const (
	frameHeader       = "Fanfare"     // see cluster.AppendHeader
	keyHeader         = "Fanfare-Key" // the escaped key, if the subject has a hash
	idHeader          = "Nats-Msg-Id" // cluster.Message.ID
	expectHeader      = "Nats-Expected-Last-Sequence"
	expectEpochHeader = "Nats-Expected-Last-Subject-Sequence" // of the subject of epochs
	// createdHeader is when the stream was created, in the entry of an epoch. A stream that was restored from a backup has the entry and
	// another time.
	createdHeader = "Fanfare-Created"
)

var errSubject = errors.New("the subject is not one of a key: other programs publish to " +
	"<prefix>.<partition>.<key>, with every byte of the key that is not printable ASCII, and . * > =, as =XX")

// decode sets e, whose Partition, Seq and At are set, from a message of the stream.
func (l *Log) decode(subject string, header natsgo.Header, data []byte, e *cluster.Entry) {
	token := subject[min(len(l.subjects.partition(e.Partition)), len(subject)):]
	e.Key = ""
	want, ok := cluster.OpEvent, true
	switch token {
	case broadcastToken:
		want = cluster.OpBroadcast
	case epochToken:
		want = cluster.OpEpoch
	default:
		e.Key, ok = keyOf(token, first(header, keyHeader))
	}
	e.Op = want
	text := first(header, frameHeader)
	switch {
	case !ok:
		invalid(e, fmt.Errorf("%.200q: %w", subject, errSubject))
	case text == "" && want == cluster.OpEpoch:
		invalid(e, fmt.Errorf("%q: only Fanfare may publish there", subject))
	default:
		cluster.Decode(text, data, e)
		if e.Err == nil && e.Op != want {
			invalid(e, fmt.Errorf("%.200q: its header %.80q belongs to another kind of subject", subject, text))
		}
	}
}

func invalid(e *cluster.Entry, err error) {
	e.Op, e.Key, e.Frame, e.Epoch, e.Err = cluster.OpInvalid, "", engine.Frame{}, 0, err
}

// decodeStored sets e from a message that the leader has returned, and returns its header.
func (l *Log) decodeStored(p int, m *storedMessage, e *cluster.Entry) (header natsgo.Header) {
	*e = cluster.Entry{Partition: p, Seq: m.Seq, At: m.Time.UnixNano()}
	if len(m.Header) > 0 {
		var err error
		if header, err = natsgo.DecodeHeadersMsg(m.Header); err != nil {
			invalid(e, fmt.Errorf("%.200q: %w", m.Subject, err))
			return nil
		}
	}
	l.decode(m.Subject, header, m.Data, e)
	return header
}

func first(header natsgo.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// delivery is what a reply subject of a consumer says about its message.
type delivery struct {
	seq     uint64 // in the stream
	at      int64  // Unix nanoseconds
	pending uint64 // messages that the consumer has after this one
}

// parseReply reads $JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<time>.<pending>, and the longer form with
// a domain and an account before the stream.
func parseReply(reply string) (d delivery, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return d, false
	}
	skip := 3
	if strings.Count(rest, ".") >= 8 {
		skip = 5
	}
	for range skip {
		if _, rest, ok = strings.Cut(rest, "."); !ok {
			return d, false
		}
	}
	seq, rest, _ := strings.Cut(rest, ".")
	_, rest, _ = strings.Cut(rest, ".")
	at, rest, _ := strings.Cut(rest, ".")
	pending, _, _ := strings.Cut(rest, ".")
	var err1, err2, err3 error
	d.seq, err1 = strconv.ParseUint(seq, 10, 64)
	d.at, err2 = strconv.ParseInt(at, 10, 64)
	d.pending, err3 = strconv.ParseUint(pending, 10, 64)
	return d, err1 == nil && err2 == nil && err3 == nil && d.seq > 0
}
