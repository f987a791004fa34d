// Package socket has the sockets of streams: a listener, connections and an epoll
// instance that do without Go's poller. On systems other than Linux it leaves
// everything to package net.
package socket
