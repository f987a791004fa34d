// Package faulty is a Server-Sent Events server with one fault, chosen by name. It is only for tests. The tests of fanload run
// against it, because a tool that checks servers must report each fault and no other one.
package faulty
