package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fanfare/bridge/payload"
	"fanfare/codec"
	"fanfare/engine"
)

// headerVersion begins every header. A node that meets another version cannot read the entry, see OpInvalid.
const headerVersion = "1"

// Letters of the header.
const (
	letterEvent     = "e"
	letterBroadcast = "b"
	letterEpoch     = "x"
	letterSilent    = 's'
	letterNotice    = 'n'
)

// maxIDLen is the longest id of a frame, see engine.ErrFrame.
const maxIDLen = 1<<16 - 1

// AppendHeader appends the header of a message to dst. A log stores it beside the frame's bytes, which are the payload:
//
//	1 e 13 0            an event whose frame has room for an id at byte 13
//	1 b 13 4 n          a broadcast with an id of 4 bytes at byte 13, and a notice
//	1 e -1 0 sn         a silent event without an id, and a notice
//	1 x mf3k2a9x1b 0    the beginning of an epoch, which is in base 36
//	1 x mf3k2a9x1b 42   the epoch that began at sequence 42
//
// The key, the message's ID and its condition (After) are not in it: a log has places of its own for them.
func AppendHeader(dst []byte, m *Message) []byte {
	dst = append(dst, headerVersion...)
	dst = append(dst, ' ')
	switch m.Op {
	case OpEpoch:
		dst = append(dst, letterEpoch+" "...)
		dst = strconv.AppendUint(dst, m.Epoch, 36)
		dst = append(dst, ' ')
		return strconv.AppendUint(dst, m.Begun, 10)
	case OpBroadcast:
		dst = append(dst, letterBroadcast+" "...)
	default:
		dst = append(dst, letterEvent+" "...)
	}
	idAt, idLen := m.Frame.IDAt, m.Frame.IDLen
	if idAt < 0 {
		idAt, idLen = -1, 0
	}
	dst = strconv.AppendInt(dst, int64(idAt), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(idLen), 10)
	if m.Frame.Silent || m.Frame.Notice {
		dst = append(dst, ' ')
	}
	if m.Frame.Silent {
		dst = append(dst, letterSilent)
	}
	if m.Frame.Notice {
		dst = append(dst, letterNotice)
	}
	return dst
}

// Decode sets Op, Frame, Epoch, EpochSeq and Err of an entry from the header and the payload that the log has stored. The
// frame's bytes may alias the payload. Set Seq before.
//
// A message without a header ("") comes from another program, such as `nats pub ff.0.news hello`. Its payload is the data
// of an event, or a whole event as JSON, by the rules of bridge/payload. Its Op stays as the log has set it.
//
// An entry that cannot be read becomes OpInvalid, and Err says why. It keeps its place in the log.
func Decode(header string, data []byte, e *Entry) {
	e.Epoch, e.EpochSeq, e.Err = 0, 0, nil
	if header == "" {
		e.Frame, e.Err = foreignFrame(data)
	} else {
		e.Err = e.parse(header, data)
	}
	if e.Err != nil {
		e.Op, e.Frame, e.Epoch, e.EpochSeq = OpInvalid, engine.Frame{}, 0, 0
	}
}

// foreignFrame makes the frame of a message that another program has stored.
func foreignFrame(data []byte) (engine.Frame, error) {
	event, err := payload.Decode(data, payload.Auto)
	if err != nil {
		return engine.Frame{}, err
	}
	f, err := codec.Encode(nil, event, true)
	if err != nil {
		return engine.Frame{}, err
	}
	if f.IDLen > maxIDLen {
		return engine.Frame{}, fmt.Errorf("id: has %d bytes, more than %d", f.IDLen, maxIDLen)
	}
	return engine.Frame{Bytes: f.Bytes, IDAt: f.IDAt, IDLen: f.IDLen, Silent: f.Silent, Notice: f.Notice}, nil
}

// parse reads a header in exactly the form of AppendHeader.
func (e *Entry) parse(header string, data []byte) error {
	version, rest, _ := strings.Cut(header, " ")
	if version != headerVersion {
		return fmt.Errorf("the header %.40q has version %.10q, and this node reads version %s: update this node", header, version, headerVersion)
	}
	op, rest, _ := strings.Cut(rest, " ")
	switch op {
	case letterEpoch:
		text, begun, _ := strings.Cut(rest, " ")
		epoch, ok := parseUint(text, 36)
		seq, okSeq := parseUint(begun, 10)
		if !ok || !okSeq || epoch == 0 || seq > e.Seq || len(data) > 0 {
			return headerError(header)
		}
		if seq == 0 {
			seq = e.Seq
		}
		e.Op, e.Epoch, e.EpochSeq, e.Frame = OpEpoch, epoch, seq, engine.Frame{}
		return nil
	case letterEvent:
		e.Op = OpEvent
	case letterBroadcast:
		e.Op = OpBroadcast
	default:
		return headerError(header)
	}
	idAt, rest, ok := strings.Cut(rest, " ")
	if !ok {
		return headerError(header)
	}
	idLen, flags, flagged := strings.Cut(rest, " ")
	f := engine.Frame{Bytes: data, IDAt: -1}
	switch flags {
	case "":
		if flagged {
			return headerError(header)
		}
	case "s":
		f.Silent = true
	case "n":
		f.Notice = true
	case "sn":
		f.Silent, f.Notice = true, true
	default:
		return headerError(header)
	}
	if len(data) == 0 {
		return errors.New("the entry has a header but no payload: it is not a frame")
	}
	if idAt != "-1" {
		at, ok := parseUint(idAt, 10)
		n, okLen := parseUint(idLen, 10)
		if !ok || !okLen || at > uint64(len(data)) || n > uint64(len(data))-at || n > maxIDLen {
			return headerError(header)
		}
		f.IDAt, f.IDLen = int(at), int(n)
	} else if idLen != "0" {
		return headerError(header)
	}
	e.Frame = f
	return nil
}

func headerError(header string) error {
	return fmt.Errorf("the header %.80q is not valid for its payload: only Fanfare may set this header", header)
}

// parseUint reads a number only in the form that strconv.AppendUint writes.
func parseUint(s string, base int) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil && strconv.FormatUint(n, base) == s
}
