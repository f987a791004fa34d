package nats

import "net"

// dialer makes connections that are reset when they are closed.
//
// A connection across a network that has failed still has what was written last, and the kernel would send it for minutes after
// it was closed. Publishes that were repeated over another connection could then reach the server after the duplicate window,
// and be stored twice. A reset drops them.
type dialer struct{ net.Dialer }

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return conn, err
}
