package transport_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/transport"
)

// A program that serves streams of its own events: a listener for browsers, and
// Publish where the events come from.
func Example() {
	eng := engine.New(engine.Options{})
	defer eng.Close()
	srv, err := transport.NewServer(eng, transport.Options{PlainIDs: true})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ln, err := transport.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()

	// A client, such as new EventSource("/stream?connectKey=news"):
	resp, err := http.Get("http://" + ln.Addr().String() + "/stream?connectKey=news")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()

	p, err := srv.Publish("news", codec.Event{Event: "greeting", Data: []byte("hello\nworld")})
	if err != nil {
		log.Fatal(err)
	}
	eng.CloseKey("news") // ends the key's streams, behind what was published
	text, _ := io.ReadAll(resp.Body)
	fmt.Printf("%d subscriber\n%s", p.Subscribers, text)
	// Output:
	// 1 subscriber
	// event: greeting
	// data: hello
	// data: world
}

// The same streams as a handler of net/http, next to a program's others, and
// over HTTP/2 where the server speaks it.
func ExampleServer_Handler() {
	eng := engine.New(engine.Options{})
	defer eng.Close()
	srv, err := transport.NewServer(eng, transport.Options{PlainIDs: true})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	mux := http.NewServeMux()
	mux.Handle("GET /events", srv.Handler())
	web := httptest.NewUnstartedServer(mux)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()

	resp, err := web.Client().Get(web.URL + "/events?connectKey=ticker")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Proto, resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	for _, price := range []string{"99.5", "100"} {
		if _, err := srv.Publish("ticker", codec.Event{Data: []byte(price)}); err != nil {
			log.Fatal(err)
		}
		lines.Scan()
		fmt.Println(lines.Text())
		lines.Scan() // the empty line that ends an event
	}
	// Output:
	// HTTP/2.0 text/event-stream
	// data: 99.5
	// data: 100
}
