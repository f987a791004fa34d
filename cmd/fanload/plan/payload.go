package plan

import (
	"bytes"
	"strconv"
	"strings"
)

// AppendPayload appends the data of an event:
//
//	{"seq":7,"ts":1234567,"run":"k3j2.0","pad":"xx…"}
//
// seq counts from 1 for each key. ts is microseconds of the monotonic clock, which all processes of a machine share. run is
// the run's name and the key's index. pad fills the payload up to size bytes, and is left out if size is too small for it.
func AppendPayload(dst []byte, run string, key int, seq, ts int64, size int) []byte {
	start := len(dst)
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, seq, 10)
	dst = append(dst, `,"ts":`...)
	dst = strconv.AppendInt(dst, ts, 10)
	dst = append(dst, `,"run":"`...)
	dst = append(dst, run...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(key), 10)
	dst = append(dst, '"')
	if pad := size - (len(dst) - start) - len(`,"pad":""}`); pad > 0 {
		dst = append(dst, `,"pad":"`...)
		for range pad {
			dst = append(dst, 'x')
		}
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// ParsePayload finds the payload in the data of an event. Some servers wrap it in more JSON, even as a JSON string, with its
// quotes escaped. ok is false for other data, for events of other runs, and for a payload that is shorter than size requires.
func ParsePayload(data []byte, run string, size int) (key int, seq, ts int64, ok bool) {
	i := bytes.Index(data, []byte(`"seq`))
	if i < 0 {
		return 0, 0, 0, false
	}
	s := scanner{rest: data[i:]}
	s.word("seq")
	seq = s.number()
	s.word("ts")
	ts = s.number()
	s.word("run")
	s.name(run)
	key = int(s.number())
	return key, seq, ts, !s.failed && seq > 0 && whole(data, i, len(data)-len(s.rest), size)
}

// whole reports whether a payload has the length and the filling with which it was made. A server that reuses a buffer too
// early sends other bytes. The payload begins before the quote at first, and its key ends at end.
func whole(data []byte, first, end, size int) bool {
	escapes := 0 // before each quote
	for at := first - 1; at >= 0 && data[at] == '\\'; at-- {
		escapes++
	}
	start, quotes := first-escapes-1, 8
	least := end - start - 7*escapes + len(`"}`)
	pad := size - (least - len(`}`) + len(`,"pad":""}`))
	if pad > 0 {
		least, quotes = size, 12
	}
	if len(data) < start+least+quotes*escapes {
		return false
	}
	if pad <= 0 {
		return true
	}
	s := scanner{rest: data[end:]}
	s.word("pad")
	s.gap()
	return !s.failed && len(s.rest) >= pad && len(bytes.TrimLeft(s.rest[:pad], "x")) == 0
}

// CutPayload reports whether data that ParsePayload refused is the beginning of a payload of the run. key is -1 and seq is 0 if
// the data ends before or within them.
func CutPayload(data []byte, run string) (key int, seq int64, cut bool) {
	const begins = `{"seq":`
	key = -1
	i := bytes.Index(data, []byte(`"seq`))
	if i < 0 {
		return key, 0, len(data) > 0 && strings.HasPrefix(begins, string(data))
	}
	s := scanner{rest: data[i:]}
	for _, word := range []string{"seq", "ts", "run"} {
		if s.gap(); len(s.rest) < len(word) {
			return key, seq, strings.HasPrefix(word, string(s.rest))
		}
		s.word(word)
		if s.gap(); len(s.rest) == 0 || word == "run" {
			break
		}
		if n := s.number(); word == "seq" && len(s.rest) > 0 {
			seq = n
		}
		if s.failed {
			return key, seq, false
		}
	}
	if named := run + "."; len(s.rest) < len(named) {
		return key, seq, !s.failed && strings.HasPrefix(named, string(s.rest))
	}
	if s.name(run); len(s.rest) == 0 {
		return key, seq, !s.failed
	}
	if n := s.number(); !s.failed && len(s.rest) > 0 {
		key = int(n)
	}
	return key, seq, !s.failed
}

// scanner reads words and numbers. It skips any quotes, backslashes, colons and commas between them.
type scanner struct {
	rest   []byte
	failed bool
}

func (s *scanner) gap() {
	i := 0
	for i < len(s.rest) {
		switch s.rest[i] {
		case '"', '\\', ':', ',', ' ':
			i++
			continue
		}
		break
	}
	s.rest = s.rest[i:]
}

func (s *scanner) word(w string) {
	s.gap()
	if len(s.rest) < len(w) || string(s.rest[:len(w)]) != w {
		s.failed = true
		return
	}
	s.rest = s.rest[len(w):]
}

// name reads the run's name and the dot after it.
func (s *scanner) name(run string) {
	s.word(run)
	if s.failed || len(s.rest) == 0 || s.rest[0] != '.' {
		s.failed = true
		return
	}
	s.rest = s.rest[1:]
}

func (s *scanner) number() (n int64) {
	s.gap()
	i := 0
	for i < len(s.rest) && i < 18 && s.rest[i] >= '0' && s.rest[i] <= '9' {
		n = n*10 + int64(s.rest[i]-'0')
		i++
	}
	if i == 0 {
		s.failed = true
	}
	s.rest = s.rest[i:]
	return n
}
