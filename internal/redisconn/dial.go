package redisconn

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/redis/rueidis"
)

// Dialer returns a dial function. Its connections are closed when ctx is done, so the end of a session does not wait for a
// silent peer.
func Dialer(ctx context.Context, base rueidis.ClientOption) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(attempt context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		attempt, cancel := context.WithCancel(attempt)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		var conn net.Conn
		var err error
		switch {
		case base.DialCtxFn != nil: // a socket of unix://
			conn, err = base.DialCtxFn(attempt, addr, d, config)
		case config != nil:
			conn, err = (&tls.Dialer{NetDialer: d, Config: config}).DialContext(attempt, "tcp", addr)
		default:
			conn, err = d.DialContext(attempt, "tcp", addr)
		}
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	}
}
