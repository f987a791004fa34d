package codec

import (
	"encoding/json"
	"os"
	"testing"
)

// vector is one recorded call of egg-sse 1.0.7: its argument, and what a subscriber received.
type vector struct {
	Name, Call, JSON, JS, Wire, HTTP string
}

// differs has the expected bytes of the vectors in which JSON tokens are kept as they were sent, not as JavaScript
// writes them.
var differs = map[string]string{
	"string-lone-surrogate":        "data: a\uFFFDb\n\n",
	"obj-data-exp":                 "data: 1e3\n\n",
	"obj-data-1e21":                "data: 1e21\n\n",
	"obj-data-bigint-text":         "data: 12345678901234567890\n\n",
	"obj-data-neg-zero":            "data: -0\n\n",
	"obj-data-1e400":               "data: 1e400\n\n",
	"obj-data-json-newline":        `data: {"t":"a\nb\r\tc\u2028d"}` + "\n\n",
	"obj-data-json-unicode":        `data: {"t":"\u00e9\ud83d\ude00\u007f\u0080"}` + "\n\n",
	"obj-data-json-lone-surrogate": `data: {"t":"a\ud800b\udc00"}` + "\n\n",
	"obj-data-json-numbers": "data: [1.0,1e3,1e21,1e-7,-0,12345678901234567890,0.1,100000000000000000000,1e400," +
		"5e-324,1.7976931348623157e308]\n\n",
	"obj-data-json-int-keys": `data: {"b":1,"10":2,"a":3,"2":4,"01":5,"-1":6,"4294967294":7,"4294967295":8,` +
		`"9007199254740993":9}` + "\n\n",
	"obj-data-json-dup-keys": `data: {"a":1,"b":2,"a":3}` + "\n\n",
	"obj-dup-top":            "event: b\ndata: 2\n\n",
}

func loadVectors(t testing.TB) []vector {
	text, err := os.ReadFile("testdata/egg-sse.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors
}

func publish(body string) (string, error) {
	ev, err := DecodeJSON([]byte(body))
	if err != nil {
		return "", err
	}
	b, err := Append(nil, ev)
	return string(b), err
}

func TestVectors(t *testing.T) {
	count := map[string]int{}
	for _, v := range loadVectors(t) {
		count[v.HTTP]++
		t.Run(v.Name, func(t *testing.T) {
			if v.HTTP == "node only" {
				if v.JSON != "" {
					t.Fatal("it has JSON, so it can be published over HTTP")
				}
				return
			}
			want := v.Wire
			if v.HTTP == "differs" {
				if want = differs[v.Name]; want == "" {
					t.Fatal("the expected bytes are missing in this test")
				}
			}
			got, err := publish(v.JSON)
			switch v.HTTP {
			case "400":
				if err == nil {
					t.Fatalf("%s must be refused; got %q", v.JSON, got)
				}
				t.Log(err)
			case "same", "differs":
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Fatalf("%s\n got %q\nwant %q", v.JSON, got, want)
				}
				// ParseFrames does not change the bytes.
				frames, dst, err := ParseFrames(nil, nil, []byte(got), false)
				if err != nil || len(frames) != 1 || string(frames[0].Bytes) != got || string(dst) != got {
					t.Fatalf("ParseFrames(%q) = %q, %v", got, dst, err)
				}
			default:
				t.Fatalf("unknown http %q", v.HTTP)
			}
		})
	}
	want := map[string]int{"same": 60, "differs": 13, "400": 15, "node only": 21}
	for kind, n := range want {
		if count[kind] != n {
			t.Errorf("%d vectors have the kind %q; want %d", count[kind], kind, n)
		}
		delete(count, kind)
	}
	if len(count) > 0 {
		t.Errorf("vectors of unknown kinds: %v", count)
	}
}
