package cluster

import (
	"bytes"
	"cmp"
	"reflect"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
)

func TestHeader(t *testing.T) {
	data := []byte("data: hello\nid: 1234\n\n")
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{Frame: engine.Frame{Bytes: data, IDAt: 16, IDLen: 4}}, "1 e 16 4"},
		{Message{Frame: engine.Frame{Bytes: data, IDAt: 16}}, "1 e 16 0"},
		{Message{Frame: engine.Frame{Bytes: data, IDAt: -1}}, "1 e -1 0"},
		{Message{Op: OpBroadcast, Frame: engine.Frame{Bytes: data, IDAt: 16, IDLen: 4, Notice: true}}, "1 b 16 4 n"},
		{Message{Frame: engine.Frame{Bytes: data, IDAt: -1, Silent: true}}, "1 e -1 0 s"},
		{Message{Frame: engine.Frame{Bytes: data, IDAt: -1, Silent: true, Notice: true}}, "1 e -1 0 sn"},
		{Message{Op: OpEpoch, Epoch: 35}, "1 x z 0"},
		{Message{Op: OpEpoch, Epoch: 35, Begun: 6}, "1 x z 6"},
		{Message{Op: OpEpoch, Epoch: 1<<64 - 1}, "1 x 3w5e11264sgsf 0"},
	} {
		header := string(AppendHeader(nil, &c.m))
		if header != c.want {
			t.Errorf("AppendHeader(%+v) = %q, want %q", c.m, header, c.want)
		}
		e := Entry{Seq: 7, Key: "k", Epoch: 9}
		Decode(header, c.m.Frame.Bytes, &e)
		want := Entry{Op: c.m.Op, Seq: 7, Key: "k", Epoch: c.m.Epoch, Frame: c.m.Frame}
		if want.Op == OpEpoch {
			want.EpochSeq = cmp.Or(c.m.Begun, 7)
		}
		if !reflect.DeepEqual(e, want) {
			t.Errorf("Decode(%q) = %+v, want %+v", header, e, want)
		}
	}
}

func TestInvalidHeaders(t *testing.T) {
	data := []byte("data: hello\n\n")
	for _, header := range []string{
		"2 e 0 0", "1", "1 ", "1 e", "1 e 0", "1 q 0 0", "1 e 0 0 ", "1 e 0 0 ns", "1 e 0 0 s n", "1 e 00 0", "1 e -2 0",
		"1 e -1 1", "1 e 14 0", "1 e 13 1", "1 e 18446744073709551615 1", "1  e 0 0", " 1 e 0 0", "1 x z 0", "1 e 0 +0",
	} {
		e := Entry{Op: OpBroadcast}
		Decode(header, data, &e)
		if e.Op != OpInvalid || e.Err == nil || e.Frame.Bytes != nil {
			t.Errorf("Decode(%q) = %+v, want OpInvalid with an error", header, e)
		}
	}
	for _, header := range []string{"1 x", "1 x ", "1 x z", "1 x z ", "1 x z 00", "1 x z 1", "1 x 0 0", "1 x Z 0", "1 x 3w5e11264sgsg 0", "1 e 0 0"} {
		var e Entry
		if Decode(header, nil, &e); e.Op != OpInvalid || e.Err == nil {
			t.Errorf("Decode(%q) without a payload = %+v, want OpInvalid with an error", header, e)
		}
	}
}

func TestForeignMessages(t *testing.T) {
	for _, c := range []struct {
		data, frame string
		idAt, idLen int
		silent      bool
	}{
		{"hello", "data: hello\nid: \n\n", 16, 0, false},
		{"", "data: \nid: \n\n", 11, 0, false},
		{`{"event": "e", "data": {"a": 1}, "id": "x9"}`, "event: e\ndata: {\"a\":1}\nid: x9\n\n", 27, 2, false},
		{`{"data": 1, "more": 2}`, "data: {\"data\": 1, \"more\": 2}\nid: \n\n", 33, 0, false},
		{": comment", ": comment\n\n", -1, 0, true},
	} {
		e := Entry{Op: OpBroadcast}
		Decode("", []byte(c.data), &e)
		if e.Err != nil || e.Op != OpBroadcast || string(e.Frame.Bytes) != c.frame || e.Frame.IDAt != c.idAt || e.Frame.IDLen != c.idLen || e.Frame.Silent != c.silent {
			t.Errorf("Decode of %q = %+v with bytes %q and error %v, want %+v", c.data, e, e.Frame.Bytes, e.Err, c)
		}
	}
	for _, data := range []string{"\xff", `{"data": "x", "id": "a\nb"}`, `{"data": "x", "id": "` + strings.Repeat("a", 1<<16) + `"}`} {
		var e Entry
		if Decode("", []byte(data), &e); e.Op != OpInvalid || e.Err == nil {
			t.Errorf("Decode of %.20q = %+v, want OpInvalid with an error", data, e)
		}
	}
}

// FuzzDecode: what Decode accepts is a frame that the engine takes, and a header has one form only.
func FuzzDecode(f *testing.F) {
	for _, header := range []string{"", "1 e 6 0", "1 b 6 3 n", "1 e -1 0 sn", "1 x mf3k2a9x1b 0", "1 x mf3k2a9x1b 3", "2 e 0 0", "1 e 99 0"} {
		f.Add(header, []byte("data: hello\n\n"))
		f.Add(header, []byte(nil))
	}
	eng := engine.New(engine.Options{})
	f.Cleanup(eng.Close)
	f.Fuzz(func(t *testing.T, header string, data []byte) {
		e := Entry{Op: OpEvent, Seq: 100}
		Decode(header, data, &e)
		if (e.Op == OpInvalid) != (e.Err != nil) {
			t.Fatalf("Op = %d, Err = %v", e.Op, e.Err)
		}
		if e.Op == OpEvent || e.Op == OpBroadcast {
			if err := eng.Check(e.Frame); err != nil {
				t.Fatalf("the engine refuses the frame %+v: %v", e.Frame, err)
			}
		}
		if header == "" || e.Err != nil || e.Op == OpEpoch && e.EpochSeq == e.Seq {
			return // the last one has two forms
		}
		again := string(AppendHeader(nil, &Message{Op: e.Op, Epoch: e.Epoch, Begun: e.EpochSeq % e.Seq, Frame: e.Frame}))
		if again != header || e.Op != OpEpoch && !bytes.Equal(e.Frame.Bytes, data) {
			t.Fatalf("the header %q is read as %q, the payload %q as %q", header, again, data, e.Frame.Bytes)
		}
	})
}

func TestNewEpochsAscend(t *testing.T) {
	last := uint64(0)
	for range 1000 {
		epoch := newEpoch(last)
		if epoch <= last || epoch>>epochBit != 1 {
			t.Fatalf("%x after %x", epoch, last)
		}
		last = epoch
	}
	if d := time.Since(beganAt(newEpoch(0))); d < 0 || d > time.Minute {
		t.Errorf("an epoch of now began %s ago", d)
	}
}
