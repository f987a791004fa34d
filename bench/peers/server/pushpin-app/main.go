// Command pushpin-app is the application that Pushpin asks about each new stream. It answers that the connection is to be held
// open, and on which channel. Events do not pass through it.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"fanfare/bench/peers/host"
)

func hold(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Grip-Hold", "stream")
	h.Set("Grip-Channel", r.URL.Query().Get("connectKey"))
	w.WriteHeader(http.StatusOK)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address; loopback only")
	flag.Parse()
	l, err := host.Listen(*listen)
	if err == nil {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /stream", hold)
		err = (&http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}).Serve(l)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
