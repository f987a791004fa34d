package pub

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLostAnswer: what may have been published is not called unpublished.
func TestLostAnswer(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		wait    time.Duration
		perhaps bool
	}{
		"no answer in time": {func(_ http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			<-req.Context().Done()
		}, 0, true},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"id":`)
		}, 0, true},
		"cut off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, true},
		"a proxy": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, 0, true},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 0, false},
		"busy":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 0, false},
		"nobody":  {nil, 0, false},
		"the first of two": {func() http.HandlerFunc {
			var n atomic.Int32
			return func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodPost && n.Add(1)%2 == 1 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(http.StatusForbidden)
			}
		}(), time.Minute, true},
	} {
		for _, lines := range []bool{false, true} {
			o := defaults(Options{Key: "k", Lines: lines, Wait: test.wait, Server: closed.URL, Timeout: 10 * time.Second})
			if test.answer != nil {
				srv := httptest.NewServer(test.answer)
				defer srv.Close()
				o.Server = srv.URL
			}
			if name == "no answer in time" {
				o.Timeout = 100 * time.Millisecond
			}
			err := Run(t.Context(), o, strings.NewReader("x\n"), io.Discard, io.Discard)
			if err == nil || strings.Contains(err.Error(), "may or may not have been published") != test.perhaps {
				t.Errorf("%s, lines %v: %v", name, lines, err)
			}
			if lines && !test.perhaps && !strings.Contains(err.Error(), "were not published: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
