package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// Codes of errors of JetStream's API.
const (
	codeResourcesExceeded  = 10002
	codeNoPeers            = 10005
	codeUnavailable        = 10008
	codeNotLeader          = 10009
	codeConsumerNotFound   = 10014
	codeInsufficient       = 10023
	codeMemoryExceeded     = 10028
	codeNoMessage          = 10037
	codeNotEnabledAccount  = 10039
	codeStorageExceeded    = 10047
	codeTooLarge           = 10054
	codeStreamNotFound     = 10059
	codeSubjectsOverlap    = 10065
	codeWrongLast          = 10071
	codeNotEnabled         = 10076
	codeStoreFailed        = 10077
	codeStreamOffline      = 10118
	codeDuplicateInProcess = 10158
	codeWrongLastConstant  = 10164
	codeTooManyRequests    = 10167
)

// apiError is an error that JetStream answers.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("NATS: %s (%d)", e.Description, e.ErrCode) }

// isCode reports whether err is an answer of JetStream with this code.
func isCode(err error, code int) bool {
	var api *apiError
	return errors.As(err, &api) && api.ErrCode == code
}

// api returns the subject of a call of JetStream's API: $JS.API.CALL, or $JS.DOMAIN.API.CALL for the JetStream of another domain.
func (l *Log) api(call string) string {
	if l.o.Domain == "" {
		return "$JS.API." + call
	}
	return "$JS." + l.o.Domain + ".API." + call
}

// errNobody says that no JetStream answers: there is none, or none that can be reached now.
var errNobody = errors.New("no JetStream answers")

// nobody says what to do about it.
func (l *Log) nobody(call string) error {
	if l.o.Domain == "" {
		return fmt.Errorf("%w %s: enable JetStream on the server, and for this account; "+
			"if the server is a leaf node, set natsDomain to the domain of the JetStream that it leads to", errNobody, call)
	}
	return fmt.Errorf("%w %s in the domain %q (natsDomain): check the name; the server must be of that domain, "+
		"or have a connection to it as a leaf node", errNobody, call, l.o.Domain)
}

// request calls JetStream's API and decodes the answer. in is nil or what becomes the body.
func (l *Log) request(ctx context.Context, call string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	msg, err := l.nc.RequestWithContext(ctx, l.api(call), body)
	switch {
	case errors.Is(err, natsgo.ErrNoResponders):
		return l.nobody(call)
	case err != nil:
		return fmt.Errorf("%s: %w", call, err)
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &failed); err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(msg.Data, out)
}

// getRequest asks the leader of a stream for one message.
type getRequest struct {
	Seq   uint64     `json:"seq,omitempty"`
	Last  string     `json:"last_by_subj,omitempty"`
	Next  string     `json:"next_by_subj,omitempty"`
	Start *time.Time `json:"start_time,omitempty"`
}

// storedMessage is a message as the leader returns it.
type storedMessage struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// get returns one message as the leader of the stream knows it. ok is false if there is none.
func (l *Log) get(ctx context.Context, partition int, q getRequest) (m *storedMessage, ok bool, err error) {
	var answer struct {
		Message *storedMessage `json:"message"`
	}
	err = l.request(ctx, "STREAM.MSG.GET."+l.o.StreamName(partition), q, &answer)
	switch {
	case isCode(err, codeNoMessage):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case answer.Message == nil:
		return nil, false, errors.New("NATS: an answer without a message")
	}
	return answer.Message, true, nil
}
