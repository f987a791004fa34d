// Package publish sends the events on schedule, over persistent HTTP/1.1 connections. Each key always uses the same connection,
// so its events stay in order.
package publish
