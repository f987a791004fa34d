package redis

import (
	"errors"
	"testing"

	"fanfare/bridge/payload"
	"fanfare/codec"
)

func frame(t *testing.T, ev codec.Event, err error) string {
	t.Helper()
	var refused *codec.Error
	if errors.As(err, &refused) {
		return "refused: " + refused.Field
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := codec.Append(nil, ev)
	if errors.As(err, &refused) {
		return "refused: " + refused.Field
	}
	return string(text)
}

func TestPayloads(t *testing.T) {
	for _, test := range []struct{ message, auto, text, json string }{
		{"hello", "data: hello\n\n", "data: hello\n\n", "refused: body"},
		{"", "data: \n\n", "data: \n\n", "refused: body"},
		{"a\r\nb\n", "data: a\ndata: b\ndata: \n\n", "data: a\ndata: b\ndata: \n\n", "refused: body"},
		{": c", ": c\n\n", ": c\n\n", "refused: body"},
		{`"quoted"`, "data: \"quoted\"\n\n", "data: \"quoted\"\n\n", "data: quoted\n\n"},
		{`{"data":"x"}`, "data: x\n\n", "data: {\"data\":\"x\"}\n\n", "data: x\n\n"},
		{` {"id":7,"event":"e","retry":5,"data":{"n":9223372036854775807}} `, "event: e\nretry: 5\nid: 7\ndata: {\"n\":9223372036854775807}\n\n",
			"data:  {\"id\":7,\"event\":\"e\",\"retry\":5,\"data\":{\"n\":9223372036854775807}} \n\n", "event: e\nretry: 5\nid: 7\ndata: {\"n\":9223372036854775807}\n\n"},
		{`{"data":"x","user":1}`, "data: {\"data\":\"x\",\"user\":1}\n\n", "data: {\"data\":\"x\",\"user\":1}\n\n", "data: x\n\n"},
		{`{"event":"e"}`, "data: {\"event\":\"e\"}\n\n", "data: {\"event\":\"e\"}\n\n", "event: e\ndata: \n\n"},
		{`{}`, "data: {}\n\n", "data: {}\n\n", "data: \n\n"},
		{`{"data":"x"`, "data: {\"data\":\"x\"\n\n", "data: {\"data\":\"x\"\n\n", "refused: body"},
		{`{"data":"x"}{}`, "data: {\"data\":\"x\"}{}\n\n", "data: {\"data\":\"x\"}{}\n\n", "refused: body"},
		{`[1]`, "data: [1]\n\n", "data: [1]\n\n", "refused: body"},
		{`{"data":"x","event":"a\nb"}`, "refused: event", "data: {\"data\":\"x\",\"event\":\"a\\nb\"}\n\n", "refused: event"},
		{`{"data":"x","retry":-1}`, "refused: retry", "data: {\"data\":\"x\",\"retry\":-1}\n\n", "refused: retry"},
		{"\xff", "refused: data", "refused: data", "refused: body"},
	} {
		for p, want := range map[payload.Mode]string{payload.Auto: test.auto, payload.Text: test.text, payload.JSON: test.json} {
			ev, err := payload.Decode([]byte(test.message), p)
			if got := frame(t, ev, err); got != want {
				t.Errorf("payload %s: %q: %q, want %q", p, test.message, got, want)
			}
		}
	}
}

func TestEntryEvent(t *testing.T) {
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{[]string{"anything", "hello"}, "data: hello\n\n"},
		{[]string{"data", `{"event":"e","data":1}`}, "event: e\ndata: 1\n\n"},
		{[]string{"data", `{"event":"e","data":1}`, "event", "f"}, "event: f\ndata: {\"event\":\"e\",\"data\":1}\n\n"},
		{[]string{"event", "e", "retry", "10", "data", "x"}, "event: e\nretry: 10\ndata: x\n\n"},
		{[]string{"event", "e", "retry", "10"}, "data: {\"event\":\"e\",\"retry\":\"10\"}\n\n"},
		{[]string{"item", "<book>", "qty", "2", "item", "\n"}, "data: {\"item\":\"<book>\",\"qty\":\"2\",\"item\":\"\\n\"}\n\n"},
		{[]string{"data", "1", "data", "2"}, "data: {\"data\":\"1\",\"data\":\"2\"}\n\n"},
		{[]string{"data", "x", "event", "a\nb"}, "refused: event"},
		{[]string{"data", "x", "retry", "soon"}, "refused: retry"},
		{[]string{"a", "\xff", "b", ""}, "refused: a"},
		{[]string{"\xff", "", "b", ""}, "refused: a field's name"},
	} {
		var fields []field
		for i := 0; i < len(test.fields); i += 2 {
			fields = append(fields, field{test.fields[i], test.fields[i+1]})
		}
		ev, err := entryEvent(fields, payload.Auto)
		if got := frame(t, ev, err); got != test.want {
			t.Errorf("%q: %q, want %q", test.fields, got, test.want)
		}
	}
}
