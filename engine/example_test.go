package engine_test

import (
	"fmt"

	"fanfare/engine"
)

// wake passes the ownership of a subscriber to the goroutine that waits on the channel.
type wake chan struct{}

func (w wake) Ready() { w <- struct{}{} }

func Example() {
	e := engine.New(engine.Options{})
	defer e.Close()
	s, ready := new(engine.Subscriber), make(wake, 1)
	if _, err := e.Subscribe(s, []string{"news"}, "", ready); err != nil {
		panic(err)
	}
	go func() {
		for _, data := range []string{"one", "two"} {
			e.Publish("news", engine.Frame{Bytes: []byte("data: " + data + "\n\n"), IDAt: -1})
		}
		e.CloseKey("news")
	}()
	for {
		if it, ok := s.Next(true); ok {
			fmt.Printf("%q\n", it.Event.Bytes())
		} else if s.Closing() != 0 {
			break
		} else if s.Release() {
			<-ready
		}
	}
	// Output:
	// "data: one\n\n"
	// "data: two\n\n"
}

// A client that reconnects sends the id of the last event that it has received, and gets the events after it.
func ExampleEngine_Subscribe_resume() {
	e := engine.New(engine.Options{})
	defer e.Close()
	var seen engine.Published
	for n := range 5 {
		p, _ := e.Publish("news", engine.Frame{Bytes: fmt.Appendf(nil, "event %d", n), IDAt: -1})
		if n == 2 {
			seen = p
		}
	}
	s := new(engine.Subscriber)
	resumed, _ := e.Subscribe(s, []string{"news"}, seen.String(), make(wake, 1))
	defer s.Close(engine.ReasonGone)
	fmt.Println("exact:", resumed == engine.ResumedExact)
	for it, ok := s.Next(true); ok; it, ok = s.Next(true) {
		fmt.Println(string(it.Event.Bytes()))
	}
	// Output:
	// exact: true
	// event 3
	// event 4
}

// A frame can leave room for an id. The engine inserts the position of the event there.
func ExampleEngine_Publish_insertID() {
	e := engine.New(engine.Options{})
	defer e.Close()
	s := new(engine.Subscriber)
	e.Subscribe(s, []string{"news"}, "", make(wake, 1))
	defer s.Close(engine.ReasonGone)
	p, _ := e.Publish("news", engine.Frame{Bytes: []byte("id: \ndata: x\n\n"), IDAt: len("id: ")})
	it, _ := s.Next(true)
	at, n := it.Event.ID()
	fmt.Println(string(it.Event.Bytes()[at:at+n]) == p.String(), it.Event.Seq(), p.Subscribers)
	// Output: true 1 1
}
