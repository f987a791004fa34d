// Package config is the configuration of the fanfare server. It has one schema, the tags of [Config]. The flags, the
// environment variables, the names in the YAML file, the defaults, the help text, the reload rules and docs/configuration.md
// are all made from it.
//
//	cmd, err := config.Load(os.Args[1:], os.Environ()) // cmd.Name is "serve", cmd.Config has the settings
//
// The layers are, from the weakest to the strongest: default, file, environment, flag. A stronger layer replaces a setting as
// a whole; maps and lists are not merged. Decoding and validation are separate: a layer reports that a text is not a
// duration; [Config.Validate] reports that a duration is out of range, and in which layer it was given.
package config

import (
	"log/slog"
	"time"
)

// Config is one effective configuration. It is read-only once it has been loaded: share the pointer, do not write to it.
//
// Its tags are: yaml, the name in the file, from which the flag (--max-clients) and the variable (FANFARE_MAX_CLIENTS) are
// derived; default, min and max, texts as a user would write them; enum, the allowed words; form, the placeholder in the
// help; and reload:"no" for a setting that needs a restart.
type Config struct {
	Listen             string   `yaml:"listen" group:"Listeners" default:":8080" reload:"no" form:"[HOST]:PORT" help:"Address on which subscribers connect, or a Unix socket: unix:/PATH."`
	ListenMode         string   `yaml:"listenMode" group:"Listeners" default:"0660" reload:"no" form:"MODE" help:"Who may connect to the Unix socket of listen: those who may write to a file of this mode."`
	ListenOwner        string   `yaml:"listenOwner" group:"Listeners" default:"" reload:"no" form:"[USER][:GROUP]" help:"Owner and group of the Unix socket of listen. Empty: those of the process."`
	Admin              string   `yaml:"admin" group:"Listeners" default:"127.0.0.1:8081" reload:"no" form:"[HOST]:PORT" help:"Address of the publish API, metrics and health, or a Unix socket: unix:/PATH. \"off\" disables it. An address other than loopback or a Unix socket needs publishToken, publishTokens, publishJWT or adminClientCA."`
	AdminMode          string   `yaml:"adminMode" group:"Listeners" default:"0660" reload:"no" form:"MODE" help:"The same for the Unix socket of admin. Whoever may connect may publish, unless there is a publishToken."`
	AdminOwner         string   `yaml:"adminOwner" group:"Listeners" default:"" reload:"no" form:"[USER][:GROUP]" help:"Owner and group of the Unix socket of admin. Empty: those of the process."`
	PublishToken       Secret   `yaml:"publishToken" group:"Listeners" default:"" form:"TOKEN" help:"Token that publish requests must have, as \"Authorization: Bearer TOKEN\". At least 16 bytes, unless the admin listener is on loopback. Empty: no token is required. Prefer the environment or the file: a flag is visible to every process on the machine."`
	PublishJWT         bool     `yaml:"publishJWT" group:"Listeners" default:"false" help:"Accept JSON Web Tokens on the admin listener that jwtKeys or jwksURL verify. They may publish to the keys of their publish claim, and do nothing else."`
	AdminOrigins       []string `yaml:"adminOrigins" group:"Listeners" default:"" form:"ORIGIN" help:"Browser origins, such as https://app.example, whose pages may call the admin listener, in addition to the built-in page. \"*\" is allowed only with a token, and not with client certificates."`
	TrustedProxies     []string `yaml:"trustedProxies" group:"Listeners" default:"" form:"CIDR" help:"Addresses of proxies, such as 10.0.0.7 or 10.0.0.0/8, or unix for whoever connects to a Unix socket. The log, the limits and authCallback take a client's address from the clientAddressField of these proxies, or from their PROXY header. Empty: the field is ignored, because any client can send it."`
	ClientAddressField string   `yaml:"clientAddressField" group:"Listeners" default:"x-forwarded-for" enum:"x-forwarded-for,forwarded" help:"Field in which trustedProxies write a client's address: X-Forwarded-For, or Forwarded (RFC 7239). The other one is ignored, because a proxy passes it on as the client has written it."`
	ProxyProtocol      bool     `yaml:"proxyProtocol" group:"Listeners" default:"false" help:"A connection of trustedProxies to the stream listener begins with a header of the PROXY protocol, version 1 or 2, which has the client's address. Without a valid header the connection is closed. Other connections have no header."`
	Page               bool     `yaml:"page" group:"Listeners" default:"true" help:"Serve the built-in page at / on the stream listener."`
	PProf              bool     `yaml:"pprof" group:"Listeners" default:"false" help:"Serve /debug/pprof/ on the admin listener."`

	HTTP2         bool     `yaml:"http2" group:"TLS" default:"true" help:"Speak HTTP/2 on the stream listener with clients that ask for it: with TLS those that offer h2 (ALPN), without TLS those that begin with its preface (h2c with prior knowledge), as proxies do."`
	TLSCert       []string `yaml:"tlsCert" group:"TLS" default:"" form:"FILE" help:"Certificates of the stream listener in PEM, each with its chain. With one, or with acmeDomains, the listener speaks TLS only. With several, the name that a client asks for (SNI) decides; the first is the default. Files are read again when they change. TLS cannot be switched on or off by a reload."`
	TLSKey        []string `yaml:"tlsKey" group:"TLS" default:"" form:"FILE" help:"Private keys of tlsCert, one for each and in the same order."`
	AdminTLSCert  string   `yaml:"adminTLSCert" group:"TLS" default:"" form:"FILE" help:"Certificate of the admin listener, as tlsCert."`
	AdminTLSKey   string   `yaml:"adminTLSKey" group:"TLS" default:"" form:"FILE" help:"Private key of adminTLSCert."`
	AdminClientCA string   `yaml:"adminClientCA" group:"TLS" default:"" form:"FILE" help:"CA certificates in PEM. Clients of the admin listener need a certificate that one of these has signed. Then other machines may reach the listener without a publishToken. Needs adminTLSCert."`
	ACMEDomains   []string `yaml:"acmeDomains" group:"TLS" default:"" form:"NAME" help:"Domain names for which certificates are obtained and renewed by ACME. The CA connects to port 443 of each, which must lead to the stream listener. The setting means that you agree to the terms of the CA."`
	ACMEDirectory string   `yaml:"acmeDirectory" group:"TLS" default:"https://acme-v02.api.letsencrypt.org/directory" form:"URL" help:"Directory of the ACME server. The default is Let's Encrypt."`
	ACMEEmail     string   `yaml:"acmeEmail" group:"TLS" default:"" form:"ADDRESS" help:"Address at which the CA may reach you. Optional."`
	ACMECache     string   `yaml:"acmeCache" group:"TLS" default:"" form:"DIRECTORY" help:"Where the account, the certificates and their keys are kept. Servers that share a domain share this directory. Empty: acme below $STATE_DIRECTORY (systemd) or fanfare/acme below $XDG_STATE_HOME, by default ~/.local/state."`
	ACMECA        string   `yaml:"acmeCA" group:"TLS" default:"" form:"FILE" help:"Certificates in PEM that the ACME server's own certificate is verified with. Empty: those of the system."`

	Path             string            `yaml:"path" group:"Stream" default:"/stream" form:"PATH" help:"Path of the stream."`
	Headers          map[string]string `yaml:"headers" group:"Stream" default:"" form:"NAME: VALUE" help:"Response headers of the stream, added to the built-in ones or replacing them. An empty value removes a built-in header."`
	AllowedOrigins   []string          `yaml:"allowedOrigins" group:"Stream" default:"" form:"ORIGIN" help:"Browser origins whose pages may read streams, such as https://app.example or https://*.example.com. Empty: every origin."`
	AllowCredentials bool              `yaml:"allowCredentials" group:"Stream" default:"false" help:"Allow pages of allowedOrigins to send cookies with the request of a stream (withCredentials)."`
	CacheKey         string            `yaml:"cacheKey" group:"Stream" default:"@sse/count" reload:"no" form:"KEY" help:"Key of subscribers and publishers that do not name one."`
	IdleTimeout      time.Duration     `yaml:"idleTimeout" group:"Stream" default:"90s" min:"1s" max:"1h" reload:"no" help:"How long a connection without a stream is kept open between two requests. The default is longer than the 60s of many proxies."`
	PingInterval     time.Duration     `yaml:"pingInterval" group:"Stream" default:"10s" min:"100ms" max:"24h" help:"Longest silence on a stream. After it, a comment is sent as a heartbeat."`
	IDs              string            `yaml:"ids" group:"Stream" default:"auto" enum:"auto,off" help:"auto: events without an id get one, so clients can resume. off: exactly the bytes of egg-sse."`
	ReservedEvents   string            `yaml:"reservedEvents" group:"Stream" default:"warn" enum:"warn,refuse" help:"What happens to events with a reserved name: error and open run a page's onerror or onopen, gap, position and expired are the server's own events. warn: publish them and log a warning. refuse: publishing one is an error (400)."`
	Retry            time.Duration     `yaml:"retry" group:"Stream" default:"0" min:"0" max:"1h" help:"Reconnection delay sent to the client at the start of a stream. 0: none is sent."`

	JWTKeys       []string `yaml:"jwtKeys" group:"Authorization" default:"" form:"[ALGORITHM:]FILE" help:"Keys that JSON Web Tokens of subscribers are verified with: files in PEM, or with a JWK or JWK Set. ALGORITHM is HS256, RS256, PS256, ES256 or EdDSA; a secret needs HS256. env:NAME in place of a file is the variable NAME. With any setting of this group but jwtCookie, a stream needs to be authorized."`
	JWKSURL       string   `yaml:"jwksURL" group:"Authorization" default:"" form:"URL" help:"Where such keys are fetched from. Needs jwtIssuer or jwtAudience."`
	JWTIssuer     string   `yaml:"jwtIssuer" group:"Authorization" default:"" form:"TEXT" help:"What tokens must have as iss. Empty: anything. Needs jwtKeys or jwksURL."`
	JWTAudience   []string `yaml:"jwtAudience" group:"Authorization" default:"" form:"TEXT" help:"What tokens must have as aud, one of these. Empty: tokens must not have any. Needs jwtKeys or jwksURL."`
	JWTCookie     string   `yaml:"jwtCookie" group:"Authorization" default:"fanfare" form:"NAME" help:"Cookie from which tokens are taken, beside the field Authorization and the parameter token."`
	TokenSecret   Secret   `yaml:"tokenSecret" group:"Authorization" default:"" form:"SECRET" help:"Secret of the tokens that POST /token makes, at least 32 bytes, the same on each server. With several, separated by spaces, the first one signs and all verify. Prefer the environment or the file: a flag is visible to every process on the machine."`
	AuthCallback  string   `yaml:"authCallback" group:"Authorization" default:"" form:"URL" help:"URL that is asked once per stream, with the cookies, Authorization, Origin, keys and address of the client."`
	AnonymousKeys []string `yaml:"anonymousKeys" group:"Authorization" default:"" form:"PATTERN" help:"Patterns of keys that everybody may subscribe to."`

	MaxClients               int           `yaml:"maxClients" group:"Limits" default:"10000" min:"1" max:"10000000" help:"Subscribers per key."`
	MaxConnections           int           `yaml:"maxConnections" group:"Limits" default:"0" min:"0" max:"10000000" reload:"no" help:"Streams in the whole process. 0: as many as RLIMIT_NOFILE allows."`
	MaxConnectionsPerAddress int           `yaml:"maxConnectionsPerAddress" group:"Limits" default:"0" min:"0" max:"10000000" help:"Streams of one client address; an IPv6 network of 64 bits counts as one. 0: no limit. Behind a proxy it needs trustedProxies, or everybody comes from the address of the proxy."`
	MaxConnectionsPerSubject int           `yaml:"maxConnectionsPerSubject" group:"Limits" default:"0" min:"0" max:"10000000" help:"Streams of one subject, which the token or authCallback tells. A new one is refused, and the older ones go on; so leave room for streams of clients that have vanished, which end after writeTimeout. Streams without a subject are not limited. 0: no limit."`
	MaxConnectRate           int           `yaml:"maxConnectRate" group:"Limits" default:"0" min:"0" max:"1000000" help:"Requests for streams per second in the whole process; after a quiet second as many may come at once. They count before authorization. A client that is refused is told to come back at a time of its own, within a minute, so that all together stay under the rate. With retry: 0, streams then begin with retryMax. 0: no limit."`
	MaxConnectRatePerAddress int           `yaml:"maxConnectRatePerAddress" group:"Limits" default:"0" min:"0" max:"1000000" help:"Requests for streams per second of one client address, as maxConnectionsPerAddress counts it. Behind a proxy it needs trustedProxies. 0: no limit."`
	MaxAuthorizing           int           `yaml:"maxAuthorizing" group:"Limits" default:"4096" min:"1" max:"1000000" help:"Requests for streams that wait to be authorized, for example for the answer to authCallback. One more is told to come back."`
	MaxLife                  time.Duration `yaml:"maxLife" group:"Limits" default:"0s" min:"0s" max:"8760h" help:"Longest life of a stream, give or take a tenth. Then the client gets a reconnection time and comes back, so that new servers get their share and dead browsers behind proxies go. 0s: no limit."`
	MaxIdleConnections       int           `yaml:"maxIdleConnections" group:"Limits" default:"4096" min:"32" max:"1000000" help:"Connections to the stream listener that have not sent a request: silent ones and those between two requests. Streams take their place when maxConnections is reached in all. The oldest is closed first. On Linux only."`
	MaxKeys                  int           `yaml:"maxKeys" group:"Limits" default:"1000000" min:"1" max:"100000000" help:"Keys that exist at the same time."`
	MaxSubscriberKeys        int           `yaml:"maxSubscriberKeys" group:"Limits" default:"0" min:"0" max:"100000000" help:"Keys from which on subscribers cannot create another one; the rest of maxKeys is for publishers. 0: three quarters of maxKeys."`
	KeyTotalBytes            Size          `yaml:"keyTotalBytes" group:"Limits" default:"0" min:"0" max:"64GiB" help:"Bytes of the names of all keys. Subscribers create keys only up to three quarters of it. 0: 64KiB and 128 for each of maxKeys."`
	MaxStreamsPerConnection  int           `yaml:"maxStreamsPerConnection" group:"Limits" default:"250" min:"1" max:"100000" reload:"no" help:"Streams that a client of HTTP/2 may open on one connection. A browser has one connection for all its tabs, a proxy one or a few for all its clients."`
	MaxKeysPerConnection     int           `yaml:"maxKeysPerConnection" group:"Limits" default:"16" min:"1" max:"1024" help:"Keys that one connection may subscribe to."`
	MaxKeyBytes              Size          `yaml:"maxKeyBytes" group:"Limits" default:"1024" min:"1" max:"16KiB" help:"Length of a key in bytes of UTF-8."`
	MaxIDBytes               int           `yaml:"maxIdBytes" group:"Limits" default:"1024" min:"1" max:"4096" help:"Length of an id that a publisher sets, in bytes. Clients send it back in a header field."`
	MaxEventBytes            Size          `yaml:"maxEventBytes" group:"Limits" default:"2MiB" min:"64" max:"1GiB" help:"Length of one encoded event. At most historyBytes and maxBodyBytes."`
	MaxBodyBytes             Size          `yaml:"maxBodyBytes" group:"Limits" default:"16MiB" min:"1KiB" max:"1GiB" help:"Length of one request body on the admin listener."`
	MaxBodyTotalBytes        Size          `yaml:"maxBodyTotalBytes" group:"Limits" default:"0" min:"0" max:"64GiB" help:"Bytes that the bodies of all requests on the admin listener take at once, until they are published. A request beyond it gets 503. 0: four times maxBodyBytes."`
	MaxBatchLines            int           `yaml:"maxBatchLines" group:"Limits" default:"100000" min:"1" max:"100000000" help:"Lines of one batch, and events of one body of text/event-stream."`
	MaxPublishRate           int           `yaml:"maxPublishRate" group:"Limits" default:"0" min:"0" max:"10000000" help:"Events per second that one publisher may publish, unless its entry of publishTokens has another number; it can be one second ahead. A request beyond it gets 429. 0: no limit."`
	MaxIdempotencyKeys       int           `yaml:"maxIdempotencyKeys" group:"Limits" default:"100000" min:"1" max:"100000000" help:"Events with an Idempotency-Key within duplicateWindow, without a backplane; each takes some 200 bytes of memory. One more gets 503."`
	MaxRewindEvents          int           `yaml:"maxRewindEvents" group:"Limits" default:"10000" min:"1" max:"10000000" help:"Past events of each key that a new stream may ask for by rewind=NUMBER. More get 400."`
	MaxOlderBytes            Size          `yaml:"maxOlderBytes" group:"Limits" default:"256MiB" min:"1MiB" max:"64GiB" help:"Bytes of the events that were fetched from the log of the backplane for streams that have not read them yet. Beyond it such a stream gets a gap. One fetch returns at most a sixteenth of what this was at the start: a rewind that needs more gets the newest events that fit, and a client that comes back a gap."`
	MaxAdminConnections      int           `yaml:"maxAdminConnections" group:"Limits" default:"1000" min:"1" max:"1000000" help:"Connections on the admin listener. One more replaces the connection that has waited longest for a request. If all of them serve one, it gets 503."`
	MaxHeadBytes             Size          `yaml:"maxHeadBytes" group:"Limits" default:"0" min:"0" max:"4MiB" reload:"no" help:"Length of a request's line and header fields. A longer one gets 431. 0: as much as maxKeysPerConnection keys of maxKeyBytes need when they are percent-encoded, up to 64KiB, and the ids and other fields."`
	OverLimit                string        `yaml:"overLimit" group:"Limits" default:"retry" enum:"retry,503,204" help:"Response to a subscriber over a limit. retry: a stream that sends a random reconnection delay between retryMin and retryMax, and ends. 503: with Retry-After. 204: as egg-sse does; browsers then never reconnect."`

	History           int           `yaml:"history" group:"History" default:"1024" min:"2" max:"1048576" help:"Events kept per key, for clients that resume or are slow; rounded up to a power of two, at least 8."`
	HistoryBytes      Size          `yaml:"historyBytes" group:"History" default:"16MiB" min:"1KiB" max:"64GiB" help:"Bytes of events kept per key. At most historyTotalBytes."`
	HistoryTTL        time.Duration `yaml:"historyTTL" group:"History" default:"5m" min:"100ms" max:"8760h" help:"How long an event is kept."`
	SendLast          bool          `yaml:"sendLast" group:"History" default:"false" help:"Send the newest event of its key first to a subscriber without a last event id. That event is then kept beyond historyTTL, and its key until the server stops: take care of maxKeys, or set it in rules of keys only."`
	HistoryTotalBytes Size          `yaml:"historyTotalBytes" group:"History" default:"256MiB" min:"1KiB" max:"1024GiB" help:"Bytes of events kept for all keys in total. Above it, the keys that keep the most lose history first."`

	FlushInterval time.Duration `yaml:"flushInterval" group:"History" default:"0" min:"0" max:"1s" help:"Shortest time between two wake-ups of a key's subscribers. 0: every event wakes them. Otherwise, all events of an interval are sent in one write at its end. This takes less CPU time per delivery for keys with more than one or two events per interval, and adds up to one interval of latency. An event after a quiet interval is sent at once."`

	Slow           string        `yaml:"slow" group:"Slow subscribers" default:"skip" enum:"skip,latest,disconnect" help:"What happens to a subscriber that is so slow that its next event is no longer in the history. skip: a gap event reports what was missed, and the oldest event kept follows. latest: it continues with the newest event. disconnect: its stream ends."`
	MinReadRate    Size          `yaml:"minReadRate" group:"Slow subscribers" default:"1KiB" min:"1B" max:"1GiB" help:"Bytes per second that a client must read while it is behind, on average over writeTimeout. Otherwise its stream is closed. 1: no limit in effect."`
	MaxPinnedBytes Size          `yaml:"maxPinnedBytes" group:"Slow subscribers" default:"64MiB" min:"1KiB" max:"1024GiB" help:"Bytes of events that the history has dropped and slow clients keep in memory, because they have got a part of one. Beyond it the streams at the oldest events are closed."`
	WriteTimeout   time.Duration `yaml:"writeTimeout" group:"Slow subscribers" default:"30s" min:"100ms" max:"1h" help:"A connection that accepts no data for this long is closed."`

	RetryMin     time.Duration `yaml:"retryMin" group:"Drain" default:"1s" min:"1ms" max:"1h" help:"Shortest reconnection delay sent to clients during a drain or over a limit."`
	RetryMax     time.Duration `yaml:"retryMax" group:"Drain" default:"5s" min:"1ms" max:"1h" help:"Longest reconnection delay sent to clients during a drain or over a limit."`
	DrainDelay   time.Duration `yaml:"drainDelay" group:"Drain" default:"0" min:"0" max:"1h" help:"Time between the change of /readyz and the end of the first stream, for load balancers to notice."`
	DrainRate    int           `yaml:"drainRate" group:"Drain" default:"1000" min:"1" max:"1000000" help:"Least number of streams ended per second."`
	DrainTimeout time.Duration `yaml:"drainTimeout" group:"Drain" default:"10s" min:"0" max:"1h" help:"Time after the end of the first stream by which all streams are ended."`
	StdinStops   bool          `yaml:"stdinStops" group:"Drain" default:"false" reload:"no" help:"Drain and stop, as on SIGTERM, when standard input ends. A program that starts fanfare with a pipe can use it, so that fanfare never outlives that program."`

	LogLevel  string `yaml:"logLevel" group:"Logging" default:"info" enum:"debug,info,warn,error" help:"Least severe level that is logged."`
	LogFormat string `yaml:"logFormat" group:"Logging" default:"auto" enum:"auto,text,json" reload:"no" help:"auto: text on a terminal, JSON otherwise."`
	AccessLog bool   `yaml:"accessLog" group:"Logging" default:"false" help:"Log a line for each stream when it ends: the reason, client address, keys, user agent, events and bytes written, events not sent, seconds. It costs about 300 bytes more per stream."`

	Backplane          string        `yaml:"backplane" group:"Backplane" default:"off" enum:"off,embedded,nats,redis" reload:"no" help:"Where events are stored, so that they outlive a restart and several servers are one fleet. off: in this process only. embedded: in dataDir, for one server. nats: in NATS JetStream (natsURL). redis: in Redis (redisURL). See docs/scaling.md."`
	DataDir            string        `yaml:"dataDir" group:"Backplane" default:"" reload:"no" form:"DIRECTORY" help:"Directory that keeps the events of backplane: embedded, for one process at a time. With every backplane it also keeps this node's name, unless nodeName gives one; with nats and redis also how far this node knows the log, so that it notices a log that was restored from a backup while no node was running."`
	Fsync              string        `yaml:"fsync" group:"Backplane" default:"group" enum:"group,always,interval" reload:"no" help:"When backplane: embedded has an event on disk. group: before it is answered, and all that wait share one write. always: before it is answered, each by itself, which is much slower. interval: up to a second after the answer; a crash of the process loses nothing, a power failure does."`
	RetentionAge       time.Duration `yaml:"retentionAge" group:"Backplane" default:"24h" min:"1m" max:"87600h" reload:"no" help:"How long the backplane keeps an event. Clients resume, and histories are read, as far back as that."`
	RetentionBytes     Size          `yaml:"retentionBytes" group:"Backplane" default:"1GiB" min:"1MiB" max:"1024GiB" reload:"no" help:"Bytes of events that the backplane keeps, of all keys together. Above it the oldest go first."`
	RetentionPerKey    int           `yaml:"retentionPerKey" group:"Backplane" default:"0" min:"0" max:"100000000" reload:"no" help:"Newest events of each key that the backplane keeps. 0: no limit but the others."`
	Interest           string        `yaml:"interest" group:"Backplane" default:"all" enum:"all,keys" help:"Whose events this node keeps in memory. all: those of all keys, so clients resume without asking the backplane. keys: those of keys that have clients here, or had some within historyTTL; what others need comes from the backplane. It saves memory and processor time where most keys have no client at this node, such as keys of one user each in a fleet of several nodes."`
	PublishTimeout     time.Duration `yaml:"publishTimeout" group:"Backplane" default:"15s" min:"100ms" max:"5m" reload:"no" help:"How long a publish waits until the backplane has stored the event. The default is longer than NATS needs for another leader. After it the answer is 503, and the event may be stored or not: repeat it with the same Idempotency-Key. At most duplicateWindow."`
	DuplicateWindow    time.Duration `yaml:"duplicateWindow" group:"Backplane" default:"30s" min:"1s" max:"1h" reload:"no" help:"How long a repeated Idempotency-Key is recognized: the event is stored once, and both answers have the same id. The backplane keeps the keys of this time in memory."`
	Away               string        `yaml:"away" group:"Backplane" default:"refuse" enum:"refuse,queue" reload:"no" help:"What happens to events while the backplane cannot be reached. refuse: 503. queue: this server keeps them in memory, up to awayBytes, and answers 202; they are lost if it stops before the backplane is back."`
	AwayBytes          Size          `yaml:"awayBytes" group:"Backplane" default:"64MiB" min:"64KiB" max:"64GiB" reload:"no" help:"Bytes of events that away: queue keeps. An event beyond them is refused."`
	OlderConcurrency   int           `yaml:"olderConcurrency" group:"Backplane" default:"4" min:"1" max:"1000" reload:"no" help:"Fetches of older events from the backplane at once, for clients that resume from before what this server has in memory. Others wait."`
	OlderMaxEvents     int           `yaml:"olderMaxEvents" group:"Backplane" default:"100000" min:"1" max:"100000000" reload:"no" help:"Events, of any key, that one such fetch may make the backplane look at. A client that is further behind gets a gap."`
	FleetTimeout       time.Duration `yaml:"fleetTimeout" group:"Backplane" default:"2s" min:"50ms" max:"1m" reload:"no" help:"How long counts, close, disconnect and presence wait for the answers of the other nodes. The answer names those that are silent."`
	FleetForgetAfter   time.Duration `yaml:"fleetForgetAfter" group:"Backplane" default:"10m" min:"5s" max:"168h" reload:"no" help:"How long these answers name a node as silent that is not heard of any more and has not said good-bye, because it hangs, is cut off or was killed. Its streams may still be open. After the first seconds nobody waits for it."`
	NodeName           string        `yaml:"nodeName" group:"Backplane" default:"" reload:"no" form:"NAME" help:"Name of this node, of its own in the fleet: letters, digits, dots, hyphens and underscores. Empty: the host name and a random suffix, which dataDir keeps."`
	ReadyWithoutBroker bool          `yaml:"readyWithoutBroker" group:"Backplane" default:"true" help:"/readyz stays 200 while NATS or Redis cannot be reached. Otherwise an outage would take all nodes out of the load balancer at once, with their streams."`

	NATSURL         Secret `yaml:"natsURL" group:"NATS" default:"" reload:"no" form:"URL" help:"NATS servers: nats://[USER:PASSWORD@]HOST[:PORT], or tls:// for TLS; several of one cluster separated by commas. It is never printed. Prefer the environment or the file if it contains a password."`
	NATSCredentials string `yaml:"natsCredentials" group:"NATS" default:"" reload:"no" form:"FILE" help:"Credentials of the NATS account: a .creds file."`
	NATSDomain      string `yaml:"natsDomain" group:"NATS" default:"" reload:"no" form:"NAME" help:"Domain of the JetStream that has the stream, if natsURL is a leaf node that leads to it. Empty: the JetStream of the server itself. See docs/scaling.md."`
	NATSStream      string `yaml:"natsStream" group:"NATS" default:"fanfare" reload:"no" form:"NAME" help:"JetStream stream of backplane: nats, and name of the fleet: nodes with the same one belong together. It is created if there is none."`
	NATSReplicas    int    `yaml:"natsReplicas" group:"NATS" default:"1" min:"1" max:"5" reload:"no" help:"Servers of the NATS cluster that store each event: 1, 3 or 5. With 3 one may fail."`
	NATSPartitions  int    `yaml:"natsPartitions" group:"NATS" default:"1" min:"1" max:"64" reload:"no" help:"JetStream streams over which keys are spread, for more events per second than one stream takes. It cannot change later: all nodes and the streams must agree."`

	NATSSubjects []string `yaml:"natsSubjects" group:"NATS" default:"" reload:"no" form:"SUBJECT[ -> KEY]" help:"Subjects whose messages are published, and the keys to publish them to. * in SUBJECT is one token, > the rest; {1}, {2} in KEY is what the first, the second of them matches. Without KEY the subject is the key. The first one that matches counts. See docs/nats.md."`
	NATSPayload  string   `yaml:"natsPayload" group:"NATS" default:"auto" enum:"auto,text,json" reload:"no" help:"What a message of natsSubjects is, as redisPayload."`

	RedisURL        Secret        `yaml:"redisURL" group:"Redis" default:"" reload:"no" form:"URL" help:"Redis server whose messages are published: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS. Empty: none. It is never printed. Prefer the environment or the file if it contains a password."`
	RedisChannels   []string      `yaml:"redisChannels" group:"Redis" default:"" reload:"no" form:"CHANNEL" help:"Pub/Sub channels to subscribe to. A name with *, ? or [ is a pattern."`
	RedisStreams    []string      `yaml:"redisStreams" group:"Redis" default:"" reload:"no" form:"STREAM" help:"Redis Streams to read, or patterns of their names."`
	RedisKeys       []string      `yaml:"redisKeys" group:"Redis" default:"* -> *" reload:"no" form:"NAME -> KEY" help:"Rules that give a channel or stream its key. A * in KEY is replaced by what the * in NAME matches. The first rule that matches counts."`
	RedisPayload    string        `yaml:"redisPayload" group:"Redis" default:"auto" enum:"auto,text,json" reload:"no" help:"What a message is. auto: a JSON object with data, and no members other than data, event, id and retry, is an event; anything else is data. text: always data. json: always what egg-sse's publish takes, a JSON string or such an object."`
	RedisTimeout    time.Duration `yaml:"redisTimeout" group:"Redis" default:"5s" min:"100ms" max:"1m" reload:"no" help:"Longest wait for a connection or an answer. A dead connection is noticed within twice this time."`
	RedisMaxStreams int           `yaml:"redisMaxStreams" group:"Redis" default:"1000" min:"1" max:"100000" reload:"no" help:"Streams that are read at the same time."`
	RedisPrefix     string        `yaml:"redisPrefix" group:"Redis" default:"fanfare" reload:"no" form:"NAME" help:"Begins the names of the keys and channels of backplane: redis, and names the fleet: nodes with the same one belong together."`
	RedisPartitions int           `yaml:"redisPartitions" group:"Redis" default:"1" min:"1" max:"64" reload:"no" help:"Streams of backplane: redis over which keys are spread, so that a Redis Cluster can keep them on several servers. It cannot change later: all nodes must agree."`

	PublishTokens []Publisher `yaml:"publishTokens" group:"Publishers" default:"" form:"list of publishers" help:"Who may use the publish API, each with rights and keys of its own, beside publishToken. See docs/securing.md."`

	Keys []KeyRule `yaml:"keys" group:"Key rules" default:"" form:"list of rules" help:"Rules with settings for the keys that match a pattern. The first rule that matches a key counts."`

	Schedules []Schedule `yaml:"schedules" group:"Schedules" default:"" form:"list of schedules" help:"Events that the server publishes itself at set times. See docs/schedule.md."`

	origins map[string]Origin // by path ("history", "headers.X-A", "keys[0].match"); absent: default
	file    string            // "" without a file
	// untrusted says why others than root and this user can change the file, or is "".
	untrusted string
	sum       [32]byte // SHA-256 of the file's bytes, the baseline of Watch
}

// Off is the value of Admin that disables the admin listener.
const Off = "off"

// Secret is a text that is formatted, logged and marshaled as "[redacted]". The text itself is string(s).
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue hides the text from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text from encoding/json and YAML encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// File is the path of the file that was loaded, or "".
func (c *Config) File() string { return c.file }

// Origin is where the value at a path ("history", "headers.X-A", "keys[0].match") was given. A part without its own origin
// has that of the setting that contains it.
func (c *Config) Origin(path string) Origin {
	for p := path; p != ""; p = parentPath(p) {
		if o, ok := c.origins[p]; ok {
			return o
		}
	}
	return Origin{}
}

func parentPath(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}

func (c *Config) setOrigin(path string, o Origin) {
	if c.origins == nil {
		c.origins = make(map[string]Origin)
	}
	c.origins[path] = o
}
