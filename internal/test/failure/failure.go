// Package failure tests test helpers: it tells with what message one fails, without a failure of the test that asks.
package failure

import (
	"fmt"
	"testing"
)

// recorder is a test that fails into a field.
type recorder struct {
	testing.TB
	text string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) }

// Fatalf does not return, as testing.T's does not.
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// Of returns the messages with which do fails by Errorf or Fatalf, "" if it does not. All else of what do gets is t.
func Of(t testing.TB, do func(testing.TB)) (text string) {
	r := &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != r {
			panic(p)
		}
		text = r.text
	}()
	do(r)
	return
}
