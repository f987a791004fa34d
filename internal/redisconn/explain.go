package redisconn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

// Reasons why connections fail, as they appear in metrics and logs.
const (
	Login      = "login"
	Permission = "permission"
	Timeout    = "timeout"
	Refused    = "refused"
	Closed     = "closed"
	Server     = "server" // Redis answered with an error
	Other      = "other"
)

// Reasons are all of them.
var Reasons = []string{Login, Permission, Timeout, Refused, Closed, Server, Other}

// Explain returns the reason of a failure, and a hint what to do about it where that is known.
func Explain(err error) (reason, hint string) {
	if re, ok := rueidis.IsRedisErr(err); ok {
		code, _, _ := strings.Cut(re.Error(), " ")
		switch code {
		case "WRONGPASS":
			return Login, "the user name or the password in redisURL is wrong"
		case "NOAUTH":
			return Login, "redis requires a password: write redis://:PASSWORD@HOST in redisURL"
		case "NOPERM":
			return Permission, "the redis user lacks a permission: docs/redis.md lists those that it needs"
		case "MOVED", "CROSSSLOT", "CLUSTERDOWN":
			return Server, "in a Redis Cluster only streams with the same hash tag can be read, from their node: " +
				"name them like {tag}orders, or use a Redis without cluster mode"
		}
		return Server, ""
	}
	var dns *net.DNSError
	var ne net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return Closed, "redis closed the connection: it has stopped, or its log says why " +
			"(client-output-buffer-limit, maxclients, CLIENT KILL)"
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, "nothing listens at that address: start redis, or correct redisURL"
	case errors.As(err, &dns):
		return Other, "the host name in redisURL cannot be resolved: correct it, or check the DNS"
	case strings.Contains(err.Error(), "unknown message type"):
		return Other, "what answers at that address is not redis: correct the host and the port in redisURL"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return Timeout, "redis did not answer within redisTimeout: check the network, or raise it"
	}
	return Other, ""
}
