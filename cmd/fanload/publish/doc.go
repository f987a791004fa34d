// Package publish sends the events: on kept HTTP/1.1 connections, each key always on the same one so that its events stay
// in order, and on time.
package publish
