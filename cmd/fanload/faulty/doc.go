// Package faulty is a server of Server-Sent Events that has one fault, chosen by name. The tests of fanload run against
// it: a tool that checks servers must name each fault, and no other one. It is for tests alone.
package faulty
