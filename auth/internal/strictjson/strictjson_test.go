package strictjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"fanfare/auth/internal/strictjson"
)

func TestObjectRefuses(t *testing.T) {
	for _, text := range []string{
		``, `null`, `[]`, `1`, `{`, `{}x`, `{} {}`, `{"a":1,}`, `{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1,"b":2}]}`,
		`{"exp":1,"\u0065xp":2}`, "{\"a\":\"\xff\"}", "{\"a\xff\":1}", `{"a":1]`, `{"a":[1}`, `{1:2}`, `{"a" 1}`,
		`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"a":` + strings.Repeat("[", 1_000_000),
	} {
		if got, err := strictjson.Object([]byte(text)); err == nil {
			t.Errorf("%.40q is accepted as %v", text, got)
		}
	}
}

func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,"b",null,true,{"c":1e3}]}`, `{"a":1,"a":2}`, ` {"a" : "\ud800"} `, `{"a":1}x`, `{"A":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := strictjson.Object(text)
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q is accepted, but encoding/json says %v", text, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %v, encoding/json says %v", text, got, want)
		}
	})
}
