package codec

import (
	"testing"

	"fanfare/internal/test/vectors"
)

func publish(body string) (string, error) {
	ev, err := DecodeJSON([]byte(body))
	if err != nil {
		return "", err
	}
	b, err := Append(nil, ev)
	return string(b), err
}

func TestVectors(t *testing.T) {
	for _, v := range vectors.Load(t) {
		if v.HTTP == vectors.NodeOnly {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			got, err := publish(v.JSON)
			if v.HTTP == vectors.Refused {
				if err == nil {
					t.Fatalf("%s must be refused; got %q", v.JSON, got)
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := v.Want(); got != want {
				t.Fatalf("%s\n got %q\nwant %q", v.JSON, got, want)
			}
			// ParseFrames does not change the bytes.
			frames, dst, err := ParseFrames(nil, nil, []byte(got), false)
			if err != nil || len(frames) != 1 || string(frames[0].Bytes) != got || string(dst) != got {
				t.Fatalf("ParseFrames(%q) = %q, %v", got, dst, err)
			}
		})
	}
}
