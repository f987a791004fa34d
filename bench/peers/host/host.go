// Package host is shared by the peers that are Go libraries. It is an HTTP server of the standard library with the routes GET
// /stream?connectKey=K and POST /publish?key=K. A user of such a library writes the same few lines.
package host

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// maxBody is the largest event that a peer accepts, in bytes.
const maxBody = 2 << 20

// Publish sends data to the subscribers of a key.
type Publish func(ctx context.Context, key string, data []byte) error

// Run serves both routes on the address of the flag -listen until SIGTERM or SIGINT, and exits with 1 on an error. It has no
// timeouts and no log, because they are not to be measured.
//
// With -tls-cert and -tls-key the streams have TLS, with HTTP/2 or HTTP/1.1 by ALPN, and the publish route has the address of
// -publish, without TLS.
func Run(subscribe http.Handler, publish Publish) {
	var f flags
	flag.StringVar(&f.listen, "listen", "127.0.0.1:0", "address of both routes; loopback only")
	flag.StringVar(&f.publish, "publish", "", "address of the publish route, if the other has TLS; loopback only")
	flag.StringVar(&f.cert, "tls-cert", "", "certificate of -listen, in PEM; empty: no TLS")
	flag.StringVar(&f.key, "tls-key", "", "its key")
	flag.Parse()
	if err := run(f, subscribe, publish); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type flags struct{ listen, publish, cert, key string }

func run(f flags, subscribe http.Handler, publish Publish) error {
	l, err := Listen(f.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /stream", subscribe)
	mux.Handle("POST /publish", route(publish))
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	failed := make(chan error, 2)
	if f.cert == "" {
		go func() { failed <- server.Serve(l) }()
	} else {
		p, err := Listen(f.publish)
		if err != nil {
			return fmt.Errorf("-publish: %w", err)
		}
		go func() { failed <- server.Serve(p) }()
		go func() { failed <- server.ServeTLS(l, f.cert, f.key) }()
	}
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
		return server.Close()
	}
}

// Listen refuses addresses that are not loopback, because these programs accept events from anybody.
func Listen(address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("-listen %s is not a loopback address: give one such as 127.0.0.1:8080", address)
	}
	config := net.ListenConfig{KeepAlive: time.Minute}
	return config.Listen(context.Background(), "tcp", address)
}

func route(publish Publish) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			http.Error(w, fmt.Sprintf("an event has at most %d bytes", maxBody), http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := publish(r.Context(), r.URL.Query().Get("key"), body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusOK)
	}
}
