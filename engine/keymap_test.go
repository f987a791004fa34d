package engine

import (
	"slices"
	"testing"
)

func TestKeysRange(t *testing.T) {
	e := start(t, Options{})
	publish(t, e, "a", 1)
	subscribe(t, e, "", "b")
	var names []string
	for name := range e.Keys() {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%q", names)
	}
	for range e.Keys() {
		break
	}
}

// TestBorrowedName: the name of a key may be memory that the caller reuses.
func TestBorrowedName(t *testing.T) {
	e := start(t, Options{MaxKeys: 1})
	name := []byte("name")
	borrowed := func() string { return string(name) }
	if _, err := e.Publish(borrowed(), text("x")); err != nil {
		t.Fatal(err)
	}
	copy(name, "mane")
	_, err := e.Publish(borrowed(), text("x"))
	copy(name, "amen")
	wantLimit(t, err, "maxKeys", 1, "mane")
	if top := e.Top(1); len(top) != 1 || top[0].Key != "name" {
		t.Errorf("%+v", top)
	}
}

// TestMaxKeysIsExact: another key takes the last place between the check and the insert.
func TestMaxKeysIsExact(t *testing.T) {
	var e *Engine
	e = start(t, Options{MaxKeys: 1, KeyRule: func(name string) *KeyOptions {
		if name == "late" {
			publish(t, e, "first", 1)
		}
		return nil
	}})
	_, err := e.Publish("late", text("x"))
	wantLimit(t, err, "maxKeys", 1, "late")
	if got := e.Stats().Keys; got != 1 {
		t.Errorf("%d keys", got)
	}
}
