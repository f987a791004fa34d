package codec

import "strings"

// refMessage is what a client sees of an event.
type refMessage struct{ Type, Data, LastEventID string }

// refResult is what a client knows after a stream.
type refResult struct {
	Messages    []refMessage
	Comments    []string
	LastEventID string
	Retry       string // the digits
}

// refParse is a second implementation of WHATWG HTML 9.2.6, with which the Parser is compared. It works on the whole
// stream at once, with strings, and shares no code with the Parser.
func refParse(stream []byte) refResult {
	var res refResult
	text := strings.TrimPrefix(refDecode(stream), "\uFEFF")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	lines := strings.Split(text, "\n")
	lines = lines[:len(lines)-1] // a line without a line end is not processed

	var data, typ, id string
	for _, line := range lines {
		if line == "" {
			res.LastEventID = id
			if data != "" {
				m := refMessage{"message", strings.TrimSuffix(data, "\n"), id}
				if typ != "" {
					m.Type = typ
				}
				res.Messages = append(res.Messages, m)
			}
			data, typ = "", ""
			continue
		}
		field, value, colon := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case colon && field == "":
			res.Comments = append(res.Comments, value)
		case field == "event":
			typ = value
		case field == "data":
			data += value + "\n"
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		case field == "retry" && value != "" && strings.Trim(value, "0123456789") == "":
			res.Retry = value
		}
	}
	return res
}

// refDecode implements the decoder of WHATWG Encoding 8.1.1 (UTF-8 decoder) step by step. It replaces errors.
func refDecode(in []byte) string {
	var out strings.Builder
	var point rune
	seen, needed := 0, 0
	lower, upper := byte(0x80), byte(0xBF)
	for i := 0; i < len(in); i++ {
		b := in[i]
		if needed == 0 {
			switch {
			case b <= 0x7F:
				out.WriteByte(b)
			case b >= 0xC2 && b <= 0xDF:
				needed, point = 1, rune(b&0x1F)
			case b >= 0xE0 && b <= 0xEF:
				if b == 0xE0 {
					lower = 0xA0
				}
				if b == 0xED {
					upper = 0x9F
				}
				needed, point = 2, rune(b&0xF)
			case b >= 0xF0 && b <= 0xF4:
				if b == 0xF0 {
					lower = 0x90
				}
				if b == 0xF4 {
					upper = 0x8F
				}
				needed, point = 3, rune(b&0x7)
			default:
				out.WriteRune(0xFFFD)
			}
			continue
		}
		if b < lower || b > upper {
			point, needed, seen = 0, 0, 0
			lower, upper = 0x80, 0xBF
			out.WriteRune(0xFFFD)
			i-- // read the byte again
			continue
		}
		lower, upper = 0x80, 0xBF
		point = point<<6 | rune(b&0x3F)
		if seen++; seen == needed {
			out.WriteRune(point)
			point, needed, seen = 0, 0, 0
		}
	}
	if needed > 0 {
		out.WriteRune(0xFFFD)
	}
	return out.String()
}

// parseAll feeds the chunks to p, which must be new, and returns everything that it emits.
func parseAll(p *Parser, chunks ...[]byte) (refResult, error) {
	var res refResult
	p.OnComment = func(text []byte) { res.Comments = append(res.Comments, string(text)) }
	for _, c := range chunks {
		err := p.Feed(c, func(m Message) {
			res.Messages = append(res.Messages, refMessage{string(m.Type), string(m.Data), string(m.LastEventID)})
		})
		if err != nil {
			return res, err
		}
	}
	res.LastEventID = string(p.LastEventID())
	return res, nil
}
