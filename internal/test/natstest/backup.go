package natstest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/test/eventually"
)

// Backup is what `nats stream backup` keeps of a stream.
type Backup struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	stream string
	chunks [][]byte
}

// Backup does what `nats stream backup` does.
func (s *Server) Backup(stream string) Backup {
	s.T.Helper()
	nc := s.connect()
	defer nc.Close()
	b := Backup{stream: stream}
	inbox := nats.NewInbox()
	messages, err := nc.SubscribeSync(inbox)
	if err != nil {
		s.T.Fatal(err)
	}
	call(s.T, nc, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]string{"deliver_subject": inbox}, &b)
	for {
		m, err := messages.NextMsg(eventually.Patience)
		switch {
		case err != nil:
			s.T.Fatal(err)
		case len(m.Data) == 0: // the end
			return b
		}
		b.chunks = append(b.chunks, m.Data)
		if m.Reply != "" { // the server sends only so many chunks ahead
			err = m.Respond(nil)
		}
		if err != nil {
			s.T.Fatal(err)
		}
	}
}

// Restore deletes the stream, and does what `nats stream restore` does.
func (s *Server) Restore(b Backup) {
	s.T.Helper()
	nc := s.connect()
	defer nc.Close()
	call(s.T, nc, "$JS.API.STREAM.DELETE."+b.stream, nil, nil)
	var answer struct {
		To string `json:"deliver_subject"`
	}
	call(s.T, nc, "$JS.API.STREAM.RESTORE."+b.stream, b, &answer)
	for _, chunk := range append(b.chunks, nil) { // an empty one is the end
		m, err := nc.Request(answer.To, chunk, eventually.Patience)
		for errors.Is(err, nats.ErrNoResponders) { // the other servers of a cluster do not know the subject yet
			time.Sleep(10 * time.Millisecond)
			m, err = nc.Request(answer.To, chunk, eventually.Patience)
		}
		if err == nil && len(m.Data) > 0 {
			err = failure(m.Data)
		}
		if err != nil {
			s.T.Fatal(err)
		}
	}
}

func (s *Server) connect() *nats.Conn {
	s.T.Helper()
	nc, err := nats.Connect(s.URL())
	if err != nil {
		s.T.Fatal(err)
	}
	return nc
}

// call calls JetStream's API, and decodes the answer unless out is nil.
func call(t testing.TB, nc *nats.Conn, subject string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if in == nil {
		body = nil
	}
	m, err := nc.Request(subject, body, eventually.Patience)
	if err == nil {
		err = failure(m.Data)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(m.Data, out)
	}
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
}

// failure is the error that an answer has, or nil.
func failure(answer []byte) error {
	var a struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.Error == nil {
		return err
	}
	return errors.New(a.Error.Description)
}
