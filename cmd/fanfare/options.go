package main

import (
	"fmt"
	"log/slog"
	"time"

	"fanfare/auth/pattern"
	"fanfare/bridge/redis"
	"fanfare/cmd/fanfare/config"
	"fanfare/engine"
	"fanfare/transport"
)

// checkParts returns the error with which a part of the server would refuse a configuration that is valid by itself.
func checkParts(c *config.Config) error {
	names, err := redisNames(c)
	if err != nil {
		return err
	}
	if _, err := engineOptions(c, names); err != nil {
		return err
	}
	o, err := transportOptions(c, 1, nil)
	if err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return err
	}
	_, err = checkCerts(c)
	return err
}

// engineOptions converts the settings of the engine. names are the channels and streams of Redis, or nil.
func engineOptions(c *config.Config, names *redis.Names) (engine.Options, error) {
	slow, err := engine.ParsePolicy(c.Slow)
	if err != nil {
		return engine.Options{}, err
	}
	base := engine.KeyOptions{
		History:        c.History,
		HistoryBytes:   int64(c.HistoryBytes),
		HistoryTTL:     c.HistoryTTL,
		FlushInterval:  c.FlushInterval,
		Slow:           slow,
		MaxSubscribers: c.MaxClients,
		SendLast:       c.SendLast,
		OnDemand:       c.Interest == config.InterestKeys,
	}
	rule, err := keyRules(base, c.Keys, names)
	if err != nil {
		return engine.Options{}, err
	}
	rule = sendLastKeys(base, rule, c.Schedules)
	return engine.Options{
		Key:               base,
		KeyRule:           rule,
		MaxKeys:           c.MaxKeys,
		MaxSubscriberKeys: c.MaxSubscriberKeys,
		KeyTotalBytes:     int64(c.KeyTotalBytes),
		MaxHistoryBytes:   int64(c.HistoryTotalBytes),
		Log:               logOptions(c),
		// A pass over all keys takes eight sweeps, so history is kept at most an eighth longer than its TTL.
		SweepInterval: min(time.Second, max(c.HistoryTTL/64, time.Millisecond)),
	}, nil
}

// keyRules makes the options of each rule once, and returns the function that looks up those of a key. The first rule that
// matches the key counts. Keys that get the entries of Redis Streams have different options, see streamed.
func keyRules(base engine.KeyOptions, rules []config.KeyRule, names *redis.Names) (func(string) *engine.KeyOptions, error) {
	if len(rules) == 0 && names == nil {
		return nil, nil
	}
	options := make([]*engine.KeyOptions, len(rules))
	ofStreams := make([]*engine.KeyOptions, len(rules))
	for i, r := range rules {
		o := base
		override(&o.History, r.History)
		override(&o.HistoryTTL, r.HistoryTTL)
		override(&o.FlushInterval, r.FlushInterval)
		override(&o.MaxSubscribers, r.MaxClients)
		override(&o.SendLast, r.SendLast)
		if r.Interest != nil {
			o.OnDemand = *r.Interest == config.InterestKeys
		}
		if r.HistoryBytes != nil {
			o.HistoryBytes = int64(*r.HistoryBytes)
		}
		if r.Slow != nil {
			var err error
			if o.Slow, err = engine.ParsePolicy(*r.Slow); err != nil {
				return nil, err
			}
		}
		options[i], ofStreams[i] = &o, streamed(o, r.HistoryTTL != nil)
	}
	baseOfStreams := streamed(base, false)
	return func(key string) *engine.KeyOptions {
		isStreamed := names != nil && names.Streamed(key)
		for i, r := range rules {
			if pattern.Match(r.Match, key) {
				if isStreamed {
					return ofStreams[i]
				}
				return options[i]
			}
		}
		if isStreamed {
			return baseOfStreams
		}
		return nil
	}, nil
}

func override[T any](v *T, by *T) {
	if by != nil {
		*v = *by
	}
}

// addressFields are the fields that the words of clientAddressField mean.
var addressFields = map[string]string{"x-forwarded-for": "X-Forwarded-For", "forwarded": "Forwarded"}

// transportOptions converts the settings of the transport.
func transportOptions(c *config.Config, maxConnections int, logger *slog.Logger) (transport.Options, error) {
	over, err := transport.ParseOverLimit(c.OverLimit)
	if err != nil {
		return transport.Options{}, err
	}
	return transport.Options{
		Path:                     c.Path,
		Headers:                  c.Headers,
		CacheKey:                 c.CacheKey,
		PlainIDs:                 c.IDs == "off",
		RefuseReserved:           c.ReservedEvents == "refuse",
		TrustedProxies:           c.Proxies(),
		TrustUnixSockets:         c.TrustsUnix(),
		ClientAddressField:       addressFields[c.ClientAddressField],
		ProxyProtocol:            c.ProxyProtocol,
		IdleTimeout:              c.IdleTimeout,
		PingInterval:             c.PingInterval,
		WriteTimeout:             c.WriteTimeout,
		Retry:                    c.Retry,
		RetryMin:                 c.RetryMin,
		RetryMax:                 c.RetryMax,
		OverLimit:                over,
		MaxConnections:           maxConnections,
		MaxIdleConnections:       c.MaxIdleConnections,
		MaxConnectionsPerAddress: c.MaxConnectionsPerAddress,
		MaxConnectionsPerSubject: c.MaxConnectionsPerSubject,
		MaxConnectRate:           c.MaxConnectRate,
		MaxConnectRatePerAddress: c.MaxConnectRatePerAddress,
		MaxAuthorizing:           c.MaxAuthorizing,
		MaxLife:                  c.MaxLife,
		MinReadRate:              int(c.MinReadRate),
		MaxPinnedBytes:           int64(c.MaxPinnedBytes),
		MaxStreamsPerConnection:  c.MaxStreamsPerConnection,
		NoHTTP2:                  !c.HTTP2,
		MaxKeysPerConnection:     c.MaxKeysPerConnection,
		MaxKeyBytes:              int(c.MaxKeyBytes),
		MaxIDBytes:               c.MaxIDBytes,
		MaxEventBytes:            int(c.MaxEventBytes),
		MaxBodyBytes:             int(c.MaxBodyBytes),
		MaxBodyTotalBytes:        int(c.MaxBodyTotalBytes),
		MaxBatchLines:            c.MaxBatchLines,
		MaxAdminConnections:      c.MaxAdminConnections,
		MaxIdempotencyKeys:       c.MaxIdempotencyKeys,
		MaxRewindEvents:          c.MaxRewindEvents,
		MaxOlderBytes:            int64(c.MaxOlderBytes),
		DuplicateWindow:          c.DuplicateWindow,
		ReadyNeedsBroker:         !c.ReadyWithoutBroker,
		MaxHeadBytes:             int(c.MaxHeadBytes),
		DrainDelay:               c.DrainDelay,
		DrainRate:                c.DrainRate,
		DrainTimeout:             c.DrainTimeout,
		NoPage:                   !c.Page,
		PublishToken:             string(c.PublishToken),
		MaxPublishRate:           c.MaxPublishRate,
		AdminOrigins:             c.AdminOrigins,
		AllowedOrigins:           c.AllowedOrigins,
		AllowCredentials:         c.AllowCredentials,
		Pprof:                    c.PProf,
		AccessLog:                c.AccessLog,
		Logger:                   logger,
	}, nil
}

// reservedFiles is the number of descriptors that streams leave free for listeners, the publish API and the log.
const reservedFiles = 128

// connectionLimit returns how many streams may be open, and a warning if the setting is more than the process can have
// descriptors for.
func connectionLimit(setting, files int) (limit int, warning string) {
	possible := max(files-reservedFiles, 1)
	switch {
	case setting == 0:
		return possible, ""
	case setting > possible:
		return setting, fmt.Sprintf("maxConnections is %d, but RLIMIT_NOFILE allows %d descriptors, so about %d streams: raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)", setting, files, possible)
	}
	return setting, ""
}
