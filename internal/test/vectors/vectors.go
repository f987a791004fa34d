// Package vectors has the recorded calls of egg-sse 1.0.7, egg-sse.json: what each call was given, and the bytes that a
// subscriber received. Fanfare sends the same bytes. The tests of the Egg plugin read the file, too.
package vectors

import (
	_ "embed"
	"encoding/json"
	"testing"
)

// HTTP says what a vector is over HTTP.
type HTTP string

// The values of Vector.HTTP.
const (
	Same     HTTP = "same"      // Fanfare sends the bytes of egg-sse
	Differs  HTTP = "differs"   // JSON tokens pass as they were sent, where JavaScript writes them anew
	Refused  HTTP = "400"       // the request is refused
	NodeOnly HTTP = "node only" // JSON cannot express what egg-sse was given
)

//go:embed egg-sse.json
var recorded []byte

// Vector is one recorded call.
type Vector struct {
	Name string
	Call string // publish or publishAll
	JSON string // the body over HTTP
	JS   string // the argument as JavaScript, if JSON has none
	Wire string // the bytes that a subscriber received
	HTTP HTTP
}

// counts says how many vectors of each kind there are.
var counts = map[HTTP]int{Same: 60, Differs: 13, Refused: 15, NodeOnly: 21}

// differs are Fanfare's bytes for the vectors of kind Differs, by name.
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

// Load returns all vectors. It fails the test if one is missing or has no expectation.
func Load(t testing.TB) []Vector {
	t.Helper()
	var all []Vector
	if err := json.Unmarshal(recorded, &all); err != nil {
		t.Fatal(err)
	}
	if err := check(all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Want returns the bytes that Fanfare sends for the vector. It has none if the vector is Refused or NodeOnly.
func (v Vector) Want() string {
	switch v.HTTP {
	case Same:
		return v.Wire
	case Differs:
		return differs[v.Name]
	}
	return ""
}
