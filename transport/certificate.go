package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/gate"
)

// Client certificates on the admin listener. The head of a request is decided on with
// the certificate of its connection, see serverFor.

// ConnectionState is what TLS has found out, zero without TLS.
func (c *conn) ConnectionState() tls.ConnectionState { return connectionState(c.Conn) }

// ConnectionState is what TLS has found out, zero without TLS.
func (c *adminConn) ConnectionState() tls.ConnectionState { return connectionState(c.Conn) }

func connectionState(c net.Conn) (s tls.ConnectionState) {
	if secure, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
		s = secure.ConnectionState()
	}
	return s
}

// serverFor returns the fasthttp.Server that serves c. fasthttp does not say which
// connection a head has come from, so on the admin listener a connection of TLS gets a
// Server of its own, which knows.
func (a *acceptor) serverFor(c *conn) *fasthttp.Server {
	if a.streams || !c.secure() {
		return a.http
	}
	from := a.http
	return &fasthttp.Server{
		Handler: from.Handler,
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
			return a.srv.adminHead(h, a.srv.certificateOf(c))
		},
		ErrorHandler:                 from.ErrorHandler,
		StreamRequestBody:            from.StreamRequestBody,
		NoDefaultServerHeader:        from.NoDefaultServerHeader,
		SecureErrorLogMessage:        from.SecureErrorLogMessage,
		DisablePreParseMultipartForm: from.DisablePreParseMultipartForm,
		ReadTimeout:                  from.ReadTimeout,
		WriteTimeout:                 from.WriteTimeout,
		IdleTimeout:                  from.IdleTimeout,
		ReadBufferSize:               from.ReadBufferSize,
		ReduceMemoryUsage:            from.ReduceMemoryUsage,
		Logger:                       from.Logger,
	}
}

// certificateOf returns the client's certificate if TLS has verified it, and nil
// otherwise.
func (s *Server) certificateOf(nc net.Conn) *x509.Certificate {
	c, ok := nc.(*conn)
	if !ok {
		return nil
	}
	state := c.ConnectionState()
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return nil
	}
	if o := s.settings.Load().AdminTLS; o != nil && !c.trust.holds(o.ClientCAs, state) {
		return nil
	}
	return state.PeerCertificates[0]
}

// trust remembers which authorities a connection's certificate has been verified with.
// A connection may be older than the settings: then it is verified again.
type trust struct{ by atomic.Pointer[trusted] }

type trusted struct {
	authorities *x509.CertPool
	ok          bool
}

// holds reports whether one of the authorities has signed the client's certificate.
func (t *trust) holds(authorities *x509.CertPool, s tls.ConnectionState) bool {
	if known := t.by.Load(); known != nil && known.authorities == authorities {
		return known.ok
	}
	intermediates := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	ok := authorities != nil && err == nil
	t.by.Store(&trusted{authorities, ok})
	return ok
}

// checkAdminOrigins refuses any origin where a page would need nothing else.
func (o *Options) checkAdminOrigins() error {
	if !slices.Contains(o.AdminOrigins, gate.AnyOrigin) {
		return nil
	}
	if o.PublishToken == "" && o.IdentifyPublisher == nil {
		return errors.New(`adminOrigins "*": every page that a browser here opens could publish: set publishToken, or name the origins`)
	}
	if o.AdminTLS != nil && o.AdminTLS.ClientCAs != nil {
		return errors.New(`adminOrigins "*": a browser with a client certificate sends it for every page: name the origins`)
	}
	return nil
}
