// Package redisconn has what every user of Redis in this module needs: the forms of a URL, connections that end with a
// context, and the reasons why a connection fails.
//
//	options, err := redisconn.ParseURL("redis://:PASSWORD@127.0.0.1:6379")
//	options.DialCtxFn = redisconn.Dialer(ctx, options) // cancel the context to close the connections
//	client, err := rueidis.NewClient(options)
//	...
//	reason, hint := redisconn.Explain(err)
package redisconn
