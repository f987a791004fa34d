package stream

import (
	"testing"
	"time"

	"fanfare/engine"
)

// TestOwnPositionsDoNotWait: an id that the engine has issued resumes although the searches for other ids take their
// time.
func TestOwnPositionsDoNotWait(t *testing.T) {
	eng := engine.New(engine.Options{})
	defer eng.Close()
	p, err := eng.Publish("k", engine.Frame{Bytes: []byte("x"), IDAt: -1})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHub(eng, 10, &Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range cap(h.resumes) {
		h.resumes <- struct{}{}
	}
	subscribed := func(id string) chan string {
		done := make(chan string, 1)
		go func() { done <- h.subscribe(&Stream{hub: h}, Request{Keys: []string{"k"}, LastID: id}) }()
		return done
	}
	unknown, own := subscribed("unknown"), subscribed(p.Position.String())
	select {
	case limit := <-own:
		if limit != "" {
			t.Error(limit)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("an own position waits for searches")
	}
	select {
	case <-unknown:
		t.Error("an unknown id does not wait")
	default:
	}
	<-h.resumes
	<-unknown
}
