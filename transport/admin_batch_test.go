package transport

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fanfare/internal/test/wiretest"
)

// batch sends lines and returns the answer's, one for each that is not blank.
func (r *rig) batch(lines string) (answers []map[string]any) {
	r.t.Helper()
	a := r.call("POST", "/batch", lines, "Content-Type: application/x-ndjson")
	if a.status != 200 || a.header.Get("Content-Type") != "application/x-ndjson" {
		r.t.Fatalf("%d %s", a.status, a.body)
	}
	for line := range strings.Lines(a.body) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		answers = append(answers, v)
	}
	return answers
}

func TestAdminBatch(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{MaxEventBytes: 500, MaxKeyBytes: 50}}, func(t *testing.T, r *rig) {
		a, b, pool := r.subscribe("connectKey=a"), r.subscribe("connectKey=b"), r.subscribe("")
		fails := r.metric("fanfare_publish_errors_total")
		lines := []string{
			`{"key":"a","data":"1","event":"e","retry":5}`,
			`{"op":"publish","key":"b","data":{"x":[1, 2]},"id":"own"}`,
			``,
			"  \r",
			`{"data":"to the pool"}` + "\r",
			`{"op":"publishAll","data":"all"}`,
			`{"op":"subscribe","key":"a"}`, // 7
			`{"key":"a","data":`,           // 8
			`"a string"`,                   // 9
			`{"key":7,"data":"x"}`,         // 10
			`{"key":"a","id":"x\ny"}`,      // 11
			`{"key":"a","data":"` + strings.Repeat("x", 600) + `"}`,  // 12
			`{"key":"` + strings.Repeat("k", 51) + `","data":"x"}`,   // 13
			"{\"key\":\"a\",\"data\":\"\xff\"}",                      // 14
			`{"Key":"b","Op":"closeAll","key":null,"data":"exact"}`,  // 15: to the pool
			`{"op":"publish","op":"publish","key":"b","key":"a"}`,    // 16: the last of equal names
			`{"op":["publish"],"key":"a"}`,                           // 17
			`{"key":"a","data":{"key":"b","op":"close"},"event":""}`, // 18
			`{"op":"close","key":"a"}`,
			`{"op":"closeAll"}`,
			`{"op":"close","key":"a"} `,
		}
		got := r.batch(strings.Join(lines, "\n")) // no newline at the end
		if len(got) != len(lines)-2 {
			t.Fatalf("%d answers to %d lines", len(got), len(lines)-2)
		}
		failed := map[int]string{7: "op", 8: "body", 9: "line", 10: "key", 11: "id", 12: "maxEventBytes", 13: "key", 14: "body", 15: "Key", 17: "op"}
		for i, answer := range got {
			line := i + 1
			if line > 2 {
				line += 2 // the blank ones
			}
			field, wrong := failed[line]
			if _, is := answer["error"]; is != wrong || wrong && (answer["field"] != field || answer["line"] != float64(line)) {
				t.Errorf("line %d %s: %v", line, lines[line-1], answer)
			}
		}
		if n := r.metric("fanfare_publish_errors_total"); n != fails+float64(len(failed)) {
			t.Errorf("%v errors counted, want %d", n-fails, len(failed))
		}
		if got[1]["id"] != "own" || got[2]["subscribers"] != 1.0 || got[3]["keys"] != 3.0 || got[3]["subscribers"] != 3.0 {
			t.Errorf("%v", got[1:4])
		}
		if last := got[len(got)-3:]; last[0]["closed"] != 1.0 || last[1]["closed"] != 2.0 || last[2]["closed"] != 0.0 {
			t.Errorf("%v", last)
		}
		a.Expect(fmt.Sprintf("event: e\nretry: 5\ndata: 1\nid: %s\n\n", got[0]["id"]))
		a.WantData("all", "", `{"key":"b","op":"close"}`)
		b.Expect("data: {\"x\":[1,2]}\nid: own\n\n")
		b.WantData("all")
		pool.WantData("to the pool", "all")
		r.waitOpen(0)
		for _, e := range []*wiretest.Events{a, b, pool} {
			if rest, queue := e.Rest(), e.Take(); rest != "" || len(queue) > 0 {
				t.Errorf("%q %v came after them", rest, queue)
			}
		}
		if got := r.batch(""); len(got) != 0 {
			t.Error(got)
		}
	})
}

// TestAdminBatchOrder: many lines, some of them wrong, keep the order of each key.
func TestAdminBatchOrder(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		const keys, perKey = 5, 2000
		var subscribers []*wiretest.Events
		for k := range keys {
			subscribers = append(subscribers, r.subscribe(fmt.Sprintf("connectKey=k%d", k)))
		}
		for part := range 4 { // less than the history at a time, so that nobody can be lapped
			var body strings.Builder
			for i := range perKey / 4 {
				for k := range keys {
					fmt.Fprintf(&body, "{\"key\":\"k%d\",\"data\":\"%d\"}\n", k, part*perKey/4+i)
				}
				body.WriteString("not JSON\r\n\r\n")
			}
			if got := r.batch(body.String()); len(got) != perKey/4*(keys+1) {
				t.Fatalf("%d answers", len(got))
			}
			for _, e := range subscribers {
				for i := range perKey / 4 {
					e.WantData(fmt.Sprint(part*perKey/4 + i))
				}
			}
		}
	})
}

func TestAdminBatchRefuses(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	a := r.call("POST", "/batch", "x", "Content-Encoding: br")
	if f := a.failed(t); a.status != 415 || f.Field != "Content-Encoding" {
		t.Fatalf("%d %s", a.status, a.body)
	}
}

// TestAdminBatchMisplaced: what a command would leave undone without a word is refused by its name, and the command with it.
func TestAdminBatchMisplaced(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	a := r.subscribe("connectKey=a")
	for line, field := range map[string]string{
		`{"op":"publishAll","key":"a","data":"x"}`:                "key",
		`{"op":"publishAll","key":"","frame":"data: x\n\n"}`:      "key",
		`{"op":"closeAll","key":"b"}`:                             "key",
		`{"op":"countAll","key":"b"}`:                             "key",
		`{"op":"close","key":"a","data":"bye"}`:                   "data",
		`{"op":"closeAll","frame":"data: bye\n\n"}`:               "frame",
		`{"op":"count","key":"a","data":null}`:                    "data",
		`{"op":"countAll","data":"x"}`:                            "data",
		`{"op":"countAll","key":null,"frame":null,"trace":"x"}`:   "",
		`{"op":"publishAll","key":null,"data":"all","trace":"x"}`: "",
	} {
		if got := r.batch(line)[0]; field == "" && got["error"] != nil || field != "" && got["field"] != field {
			t.Errorf("%s: %v, want an error of %q", line, got, field)
		}
	}
	a.WantData("all")
}

// TestAdminBatchFrames: finished events keep their bytes, with room for an id where ids are given.
func TestAdminBatchFrames(t *testing.T) {
	for _, plain := range []bool{true, false} {
		onBoth(t, rigOptions{Options: Options{PlainIDs: plain, MaxEventBytes: 300}}, func(t *testing.T, r *rig) {
			a, b := r.subscribe("connectKey=a"), r.subscribe("connectKey=b")
			lines := []string{
				`{"key":"a","frame":"event: e\nretry: 1.5\nid: own\ndata: x\ndata: \n\n"}`,
				`{"key":"a","frame":"data: \u2028\u0000\ud83d\ude00\n\n"}`,
				`{"op":"publishAll","frame":": c\n\n"}`,
				`{"op":"count","key":"a"}`,
				`{"op":"countAll"}`,
				`{"op":"count","key":"nobody"}`,
				`{"key":"a","frame":"data: x\n\n","data":"y"}`,                     // 7
				`{"key":"a","id":"y","frame":"data: x\n\n"}`,                       // 8
				`{"key":"a","frame":"data: x\n"}`,                                  // 9
				`{"key":"a","frame":"data: x\n\ndata: y\n\n"}`,                     // 10
				`{"key":"a","frame":7}`,                                            // 11
				`{"key":"a","frame":"data: ` + strings.Repeat("x", 300) + `\n\n"}`, // 12
				`{"key":"b","frame":null,"data":"as if absent"}`,
			}
			got := r.batch(strings.Join(lines, "\n"))
			if len(got) != len(lines) {
				t.Fatalf("%d answers to %d lines", len(got), len(lines))
			}
			failed := map[int]string{7: "frame", 8: "frame", 9: "body", 10: "body", 11: "frame", 12: "maxEventBytes"}
			for i, answer := range got {
				field, wrong := failed[i+1]
				if _, is := answer["error"]; is != wrong || wrong && (answer["field"] != field || answer["line"] != float64(i+1)) {
					t.Errorf("line %d %s: %v", i+1, lines[i], answer)
				}
			}
			if got[0]["id"] != "own" || got[0]["subscribers"] != 1.0 || got[2]["keys"] != 2.0 || got[3]["count"] != 1.0 || got[4]["count"] != 2.0 || got[5]["count"] != 0.0 {
				t.Errorf("%v", got[:6])
			}
			id := func(i int) string {
				if plain {
					return ""
				}
				return fmt.Sprintf("id: %s\n", got[i]["id"])
			}
			first := "event: e\nretry: 1.5\ndata: x\ndata: \nid: own\n\n"
			if plain {
				first = "event: e\nretry: 1.5\nid: own\ndata: x\ndata: \n\n"
			}
			a.Expect(first + "data: \u2028\x00\U0001F600\n" + id(1) + "\n: c\n\n")
			b.Expect(": c\n\ndata: as if absent\n" + id(12) + "\n")
		})
	}
}
