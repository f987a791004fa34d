package engine

import (
	"errors"
	"math"
	"testing"
)

func TestPositionText(t *testing.T) {
	for _, c := range []struct {
		p    Position
		text string
	}{
		{Position{}, "0-0"},
		{Position{1, 42}, "1-42"},
		{Position{35, 1}, "z-1"},
		{Position{36, 1}, "10-1"},
		{Position{math.MaxUint64, math.MaxUint64}, "3w5e11264sgsf-18446744073709551615"},
	} {
		if got := c.p.String(); got != c.text {
			t.Errorf("the text of %v is %q, want %q", [2]uint64{c.p.Epoch, c.p.Seq}, got, c.text)
		}
		if got, ok := ParsePosition(c.text); !ok || got != c.p {
			t.Errorf("ParsePosition(%q) = %v, %v", c.text, got, ok)
		}
		if len(c.text) > maxPositionLen {
			t.Errorf("%q is longer than %d bytes", c.text, maxPositionLen)
		}
	}
}

func TestParsePositionRefuses(t *testing.T) {
	for _, s := range []string{
		"", "-", "1", "1-", "-1", "1-1-1", "01-1", "1-01", "+1-1", "1-+1", "A-1", "1-a", " 1-1", "1-1 ",
		"1_0-1", "3w5e11264sgsg-1", "1-18446744073709551616", "é-1", "1-1,1-1", "1\x00-1",
	} {
		if p, ok := ParsePosition(s); ok || p != (Position{}) {
			t.Errorf("ParsePosition(%q) = %v, %v", s, p, ok)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"", "0-0", "mf3k2a9x1b-42", "1-18446744073709551615", "01-1", "a--1", "-", "ZZ-1", "1-1,2-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := ParsePosition(s)
		if ok && p.String() != s {
			t.Errorf("%q is parsed as %q", s, p)
		}
		if !ok && p != (Position{}) {
			t.Errorf("%q is refused, but the result is %v", s, p)
		}
	})
}

// TestPublishRefusesOwnPosition: a publisher's id that is, or contains, a position of this engine would be taken for
// that position.
func TestPublishRefusesOwnPosition(t *testing.T) {
	e := start(t, Options{})
	a, b := publish(t, e, "a", 1), publish(t, e, "b", 1)
	other := start(t, Options{})
	elsewhere := publish(t, other, "a", 1)
	ahead := Position{a.Epoch, 7}
	for id, refused := range map[string]bool{
		a.String(): true, ahead.String(): true, b.String(): true, a.String() + "," + b.String() + "," + a.String() + "~*": true,
		"x," + ahead.String(): true, elsewhere.String(): false, "170-0": false, a.String() + "x": false, "own": false,
		Position{b.Epoch + 1, 1}.String(): false,
	} {
		_, err := e.Publish("a", withID(id))
		if _, _, errAll := e.PublishAll(withID(id)); errors.Is(err, ErrPosition) != refused || errors.Is(errAll, ErrPosition) != refused {
			t.Errorf("%s: Publish %v, PublishAll %v", id, err, errAll)
		}
	}
	if p := publish(t, e, "a", 1); p.Seq != 12 {
		t.Errorf("the next position is %s: refused events were published", p)
	}
}
