package codec_test

import (
	"errors"
	"fmt"

	"fanfare/codec"
)

func ExampleAppend() {
	b, err := codec.Append(nil, codec.Event{Event: "news", ID: "7", Data: []byte("two\nlines")})
	fmt.Printf("%q %v\n", b, err)
	b, err = codec.Append(nil, codec.Event{Data: []byte(": a comment")})
	fmt.Printf("%q %v\n", b, err)
	_, err = codec.Append(nil, codec.Event{ID: "7\nevent: injected"})
	fmt.Println(err)
	// Output:
	// "event: news\nid: 7\ndata: two\ndata: lines\n\n" <nil>
	// ": a comment\n\n" <nil>
	// id: must not contain a line feed; remove it, or move the text to data (byte 1)
}

// A frame with room for an id that is set later.
func ExampleEncode() {
	f, _ := codec.Encode(nil, codec.Event{Event: "tick", Data: []byte("now")}, true)
	fmt.Printf("%s%s%s", f.Bytes[:f.IDAt], "hd9k2a9x1b4c-42", f.Bytes[f.IDAt+f.IDLen:])
	// Output:
	// event: tick
	// data: now
	// id: hd9k2a9x1b4c-42
}

func ExampleDecodeJSON() {
	ev, _ := codec.DecodeJSON([]byte(`{"event": "order", "id": 9007199254740993, "data": {"total": 1.50, "items": [1, 2]}}`))
	b, _ := codec.Append(nil, ev)
	fmt.Printf("%s", b)

	_, err := codec.DecodeJSON([]byte(`{"retry": 1.5}`))
	var e *codec.Error
	if errors.As(err, &e) {
		fmt.Println(e.Field, e.Offset, err)
	}
	// Output:
	// event: order
	// id: 9007199254740993
	// data: {"total":1.50,"items":[1,2]}
	//
	// retry 10 retry: must be a whole number of milliseconds: digits 0-9 only; got 1.5 (byte 10)
}

func ExampleParseFrames() {
	body := []byte("id:1\r\ndata: a\r\n\r\ndata: b\r\n\r\n")
	frames, _, err := codec.ParseFrames(nil, nil, body, true)
	for _, f := range frames {
		fmt.Printf("%q id at %d, %d long\n", f.Bytes, f.IDAt, f.IDLen)
	}
	fmt.Println(err)
	_, _, err = codec.ParseFrames(nil, nil, []byte("data: a\n\ndata: b\n"), true)
	fmt.Println(err)
	// Output:
	// "data: a\nid: 1\n\n" id at 12, 1 long
	// "data: b\nid: \n\n" id at 12, 0 long
	// <nil>
	// body: is incomplete: the last event has no empty line after it; end every event with an empty line (event 2, byte 9)
}

func ExampleParser() {
	p := codec.Parser{OnComment: func(text []byte) { fmt.Printf("comment %q\n", text) }}
	emit := func(m codec.Message) { fmt.Printf("%s %q, id %q\n", m.Type, m.Data, m.LastEventID) }
	for _, chunk := range []string{": pi", "ng\n\nid: 7\ndata: one\r", "\ndata: two\r\n\r\nretry: 3000\nevent: gap\ndata\n\n"} {
		if err := p.Feed([]byte(chunk), emit); err != nil {
			fmt.Println(err)
		}
	}
	retry, ok := p.Retry()
	fmt.Println(retry, ok)
	// Output:
	// comment "ping"
	// message "one\ntwo", id "7"
	// gap "", id "7"
	// 3s true
}
