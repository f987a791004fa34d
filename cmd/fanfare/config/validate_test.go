package config

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	const remote = " can be reached from other machines, and anyone could publish: set publishToken (environment FANFARE_PUBLISH_TOKEN), or listen on loopback (127.0.0.1:8081)"
	const mode = " is not a mode with which the owner may connect: write octal digits, such as 0660 for the owner and the group, or 0666 for everybody on the machine"
	for _, test := range []struct{ flags, want string }{
		// Ranges and their ends.
		{"--history=2 --ping-interval=100ms", ""},
		{"--history=1048576", ""},
		{"--history=1", "flag --history: history: 1 is out of range: 2 to 1048576"},
		{"--history=1048577", "flag --history: history: 1048577 is out of range: 2 to 1048576"},
		{"--ping-interval=99", "flag --ping-interval: pingInterval: 99ms is out of range: 100ms to 24h"},
		{"--ping-interval=0", "flag --ping-interval: pingInterval: 0s is out of range: 100ms to 24h"},
		{"--retry=-1s", "flag --retry: retry: -1s is out of range: 0 to 1h"},
		{"--retry=1500us", "flag --retry: retry: 1.5ms is not a whole number of milliseconds"},
		{"--max-key-bytes=0 --cache-key=a", "flag --max-key-bytes: maxKeyBytes: 0 is out of range: 1 to 16KiB"},
		{"--slow=lates", `flag --slow: slow: "lates" is not one of skip, latest, disconnect; did you mean latest?`},
		{"--over-limit=404", `flag --over-limit: overLimit: "404" is not one of retry, 503, 204; did you mean 204?`},
		{"--log-level=", `flag --log-level: logLevel: "" is not one of debug, info, warn, error`},
		// Redis. What is wrong with a URL never repeats a part of it, which may be the password.
		{"--redis-url=redis://h --redis-channels=a,b.* --redis-keys=app:*->*", ""},
		{"--redis-url=rediss://u:p%40@h:6380/2?db=3 --redis-streams=a", ""},
		{"--redis-url=unix:///run/redis.sock --redis-streams=a", ""},
		{"--redis-url=redis://h:26379?master_set=m&addr=h2:26379 --redis-streams=a", ""},
		{"--redis-url=redis://h", "flag --redis-url: redisURL: is set, but nothing uses it: name channels (redisChannels) or streams (redisStreams), or set backplane to redis"},
		{"--redis-channels=a", "flag --redis-channels: redisChannels: needs redisURL (environment FANFARE_REDIS_URL), such as redis://127.0.0.1:6379"},
		{"--redis-url=h:6379 --redis-channels=a", "flag --redis-url: redisURL: must begin with redis://, rediss:// (TLS) or unix:// (a socket)"},
		{"--redis-url=redis://:hunter2/x@h --redis-channels=a", "flag --redis-url: redisURL: is not a valid URL: write redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], with %-escapes for special characters of the password (%40 for @, %2F for /)"},
		{"--redis-url=redis://hunter2/x@h --redis-channels=a", "flag --redis-url: redisURL: has no valid database after the host: write a number, such as /0; special characters of the password need %-escapes (%2F for /)"},
		{"--redis-url=redis://h:0 --redis-channels=a", "flag --redis-url: redisURL: has no valid port: write a number from 1 to 65535"},
		{"--redis-url=redis://h?skip_verify=maybe&db=x --redis-channels=a", "flag --redis-url: redisURL: has an invalid parameter after the ?: db and protocol take a number, skip_verify true or false"},
		{"--redis-url=unix://sock --redis-channels=a", "flag --redis-url: redisURL: has no socket path: write unix:///PATH/TO/SOCKET"},
		{"--redis-url=redis://h --redis-channels=a[b", `flag --redis-channels: redisChannels: "a[b" has a [ without a ]: write \[ for a literal bracket`},
		{"--redis-url=redis://h --redis-streams=a\\", `flag --redis-streams: redisStreams: "a\\" ends with a \: write \\ for a literal backslash`},
		{"--redis-keys=a", `flag --redis-keys: redisKeys: "a": must be "NAME -> KEY", such as "app:* -> *"`},
		{"--redis-keys=a->*", `flag --redis-keys: redisKeys: "a->*": the key has a * but the name has none: write the name with a *, or the key without`},
		{"--redis-keys=**->*", `flag --redis-keys: redisKeys: "**->*": "**" has more than one *`},
		{"--redis-keys=->a", `flag --redis-keys: redisKeys: "->a": one side of the -> is empty`},
		{"--redis-payload=jsn", `flag --redis-payload: redisPayload: "jsn" is not one of auto, text, json; did you mean json?`},
		{"--redis-timeout=99ms", "flag --redis-timeout: redisTimeout: 99ms is out of range: 100ms to 1m"},
		{"--redis-max-streams=0", "flag --redis-max-streams: redisMaxStreams: 0 is out of range: 1 to 100000"},
		// Backplane.
		{"--backplane=embedded --data-dir=d", ""},
		{"--backplane=embedded --data-dir=d --fsync=interval --retention-per-key=10 --node-name=a.b-c_1", ""},
		{"--backplane=nats --nats-url=nats://a:4222,tls://b --nats-replicas=3 --away=queue", ""},
		{"--backplane=redis --redis-url=redis://h", ""},
		{"--backplane=redis --redis-url=redis://h --redis-prefix={a}", `flag --redis-prefix: redisPrefix: "{a}" is not a name for keys: write up to 60 letters, digits, dots, colons, hyphens and underscores`},
		{"--backplane=nat", `flag --backplane: backplane: "nat" is not one of off, embedded, nats, redis; did you mean nats?`},
		{"--backplane=embedded", "flag --backplane: backplane: embedded needs dataDir (environment FANFARE_DATA_DIR), the directory that keeps the events, such as /var/lib/fanfare"},
		{"--backplane=nats", "flag --backplane: backplane: nats needs natsURL (environment FANFARE_NATS_URL), such as nats://127.0.0.1:4222"},
		{"--backplane=redis", "flag --backplane: backplane: redis needs redisURL (environment FANFARE_REDIS_URL), such as redis://127.0.0.1:6379"},
		{"--data-dir=d", "flag --data-dir: dataDir: is for backplane: embedded or nats or redis, and backplane is off (default): leave it out, or set backplane"},
		{"--backplane=nats --nats-url=nats://h --fsync=always", "flag --fsync: fsync: is for backplane: embedded, and backplane is nats (flag --backplane): leave it out, or set backplane"},
		{"--backplane=embedded --data-dir=d --nats-replicas=3", "flag --nats-replicas: natsReplicas: is for backplane: nats, and backplane is embedded (flag --backplane): leave it out, or set backplane"},
		{"--backplane=nats --nats-url=nats://h --nats-replicas=2", "flag --nats-replicas: natsReplicas: 2 does not survive more failures than 1: write 1, 3 or 5"},
		{"--backplane=nats --nats-url=nats://h --nats-stream=a.b", `flag --nats-stream: natsStream: "a.b" is not a name of a stream: write up to 60 letters, digits, hyphens and underscores`},
		{"--backplane=nats --nats-url=nats://h --nats-domain=a.b", `flag --nats-domain: natsDomain: "a.b" is not a name of a domain: write the name that is in the server's jetstream block, letters, digits, hyphens and underscores`},
		{"--backplane=embedded --data-dir=d --nats-domain=hub", "flag --nats-domain: natsDomain: is for backplane: nats, and backplane is embedded (flag --backplane): leave it out, or set backplane"},
		{"--backplane=nats --nats-url=nats://h --node-name=a/b", `flag --node-name: nodeName: "a/b" is not a name of a node: write up to 100 letters, digits, dots, hyphens and underscores`},
		{"--backplane=nats --nats-url=h:4222", "flag --nats-url: natsURL: must begin with nats:// or tls:// (TLS), also each one after a comma"},
		{"--backplane=nats --nats-url=nats://a,b:1", "flag --nats-url: natsURL: must begin with nats:// or tls:// (TLS), also each one after a comma"},
		{"--backplane=nats --nats-url=nats://:hunter2/x@h", "flag --nats-url: natsURL: is not a valid URL: write nats://[USER:PASSWORD@]HOST[:PORT], with %-escapes for special characters of the password (%40 for @, %2F for /)"},
		{"--backplane=nats --nats-url=nats://:4222", "flag --nats-url: natsURL: has no host: write nats://HOST:PORT"},
		{"--backplane=nats --nats-url=nats://h:0", "flag --nats-url: natsURL: has no valid port: write a number from 1 to 65535"},
		{"--nats-url=nats://h", "flag --nats-url: natsURL: is set, but nothing uses it: set backplane to nats, or name subjects (natsSubjects)"},
		{"--nats-url=nats://h --nats-subjects=news,app.*.>->{1}/{2}", ""},
		{"--nats-subjects=news", "flag --nats-subjects: natsSubjects: needs natsURL (environment FANFARE_NATS_URL), such as nats://127.0.0.1:4222"},
		{"--nats-url=nats://h --nats-subjects=a*", `flag --nats-subjects: natsSubjects: "a*" has a wildcard within the token "a*": * and > stand for whole tokens`},
		{"--nats-credentials=f", "flag --nats-credentials: natsCredentials: needs natsURL (environment FANFARE_NATS_URL), the server that they are for"},
		{"--backplane=embedded --data-dir=d --publish-timeout=1m", "flag --publish-timeout: publishTimeout: 1m is more than duplicateWindow (30s, default): lower publishTimeout or raise duplicateWindow"},
		{"--backplane=embedded --data-dir=d --duplicate-window=10m --retention-age=5m", "flag --duplicate-window: duplicateWindow: 10m is more than retentionAge (5m, flag --retention-age): lower duplicateWindow or raise retentionAge"},
		{"--backplane=embedded --data-dir=d --retention-bytes=1MiB", "flag --retention-bytes: retentionBytes: 1MiB is less than maxEventBytes (2MiB, default): raise retentionBytes or lower maxEventBytes"},
		{"--retention-age=1s", "flag --retention-age: retentionAge: 1s is out of range: 1m to 87600h\nflag --retention-age: retentionAge: is for backplane: embedded or nats or redis, and backplane is off (default): leave it out, or set backplane"},
		// Listeners.
		{"--listen=0.0.0.0:80", ""},
		{"--listen=[::1]:80", ""},
		{"--listen=stream.internal:80", ""},
		{"--listen=:0 --admin=127.0.0.1:0", ""},
		{"--listen=8080", `flag --listen: listen: "8080" is not an address: write ":8080" for all interfaces`},
		{"--listen=host", `flag --listen: listen: "host" is not an address: write [HOST]:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080`},
		{"--listen=::1:8080", `flag --listen: listen: "::1:8080" is not an address: write [HOST]:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080`},
		{"--listen=:65536", `flag --listen: listen: ":65536" has no valid port: write 0 to 65535 (0: the system chooses), such as :8080`},
		{"--listen=:http", `flag --listen: listen: ":http" has no valid port: write 0 to 65535 (0: the system chooses), such as :8080`},
		{"--listen=http://x:80", `flag --listen: listen: "http://x:80" is a URL, not an address: write "x:80"`},
		{"--listen=a/b:80", `flag --listen: listen: "a/b:80" has no valid host: write an IP address or a host name, such as 127.0.0.1:8080`},
		{"--listen=off", `flag --listen: listen: "off" is not an address: write [HOST]:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080`},
		{"--trusted-proxies=10.0.0.0/8,::1,fd00::/8", ""},
		{"--trusted-proxies=10.0.0.1/8", `flag --trusted-proxies: trustedProxies: "10.0.0.1/8" has bits set after its prefix length: write 10.0.0.0/8`},
		{"--trusted-proxies=proxy.internal", `flag --trusted-proxies: trustedProxies: "proxy.internal" is not an IP address or a block of them: write one such as 10.0.0.7 or 10.0.0.0/8, or unix for all Unix sockets`},
		{"--listen=unix:run/s", `flag --listen: listen: "unix:run/s" has no absolute path without . and ..: write it as in unix:/run/fanfare/stream.sock`},
		{"--listen=unix:///run/s", `flag --listen: listen: "unix:///run/s" has no absolute path without . and ..: write it as in unix:/run/fanfare/stream.sock`},
		{"--listen=unix:/" + strings.Repeat("x", 120), `flag --listen: listen: "unix:/` + strings.Repeat("x", 74) + `"… has a path of 121 bytes, and systems allow 103 for a socket: choose a shorter one`},
		{"--admin=unix:@abstract", `flag --admin: admin: "unix:@abstract" has no absolute path without . and ..: write it as in unix:/run/fanfare/stream.sock, or "off" for none`},
		{"--listen=unix:/run/s --admin=unix:/run/s", `flag --admin: admin: "unix:/run/s" is also the Unix socket of listen (flag --listen): give each its own path`},
		{"--listen-mode=0660", ""},
		{"--listen-mode=0600", `flag --listen-mode: listenMode: "0600" is for a Unix socket, and listen is ":8080": leave it out, or write listen: unix:/PATH`},
		{"--listen=unix:/run/s --listen-mode=rw", `flag --listen-mode: listenMode: "rw"` + mode},
		{"--listen=unix:/run/s --listen-mode=1777", `flag --listen-mode: listenMode: "1777"` + mode},
		{"--listen=unix:/run/s --listen-mode=0460", `flag --listen-mode: listenMode: "0460"` + mode},
		{"--admin=unix:/run/s --admin-owner=a:b:c", `flag --admin-owner: adminOwner: "a:b:c" is not an owner: write USER, USER:GROUP or :GROUP`},
		{"--admin-owner=root", `flag --admin-owner: adminOwner: "root" is for a Unix socket, and admin is "127.0.0.1:8081": leave it out, or write admin: unix:/PATH`},
		{"--proxy-protocol", "flag --proxy-protocol: proxyProtocol: needs trustedProxies, the addresses from which connections begin with a PROXY header: set trustedProxies (environment FANFARE_TRUSTED_PROXIES)"},
		{"--client-address-field=x-real-ip", `flag --client-address-field: clientAddressField: "x-real-ip" is not one of x-forwarded-for, forwarded`},
		{"--trusted-proxies=::ffff:10.0.0.7", `flag --trusted-proxies: trustedProxies: "::ffff:10.0.0.7" is an IPv4 address in IPv6 form: write it as 10.0.0.7 or 10.0.0.0/8`},
		// TLS.
		{"--tls-cert=a.pem --tls-key=a.key", ""},
		{"--tls-cert=a.pem,b.pem --tls-key=a.key", "flag --tls-cert: tlsCert: names 2 files, and tlsKey 1: give each certificate its key, in the same order"},
		{"--tls-key=a.key", "tlsCert: names 0 files, and tlsKey 1: give each certificate its key, in the same order"},
		{"--admin-tls-cert=a.pem", "flag --admin-tls-cert: adminTLSCert: needs adminTLSKey, the private key of the certificate"},
		{"--admin-tls-key=a.key", "flag --admin-tls-key: adminTLSKey: needs adminTLSCert, the certificate of the key"},
		{"--admin-client-ca=ca.pem", "flag --admin-client-ca: adminClientCA: needs adminTLSCert and adminTLSKey: only TLS has client certificates"},
		{"--admin=:8081 --admin-tls-cert=a.pem --admin-tls-key=a.key", `flag --admin: admin: ":8081"` + remote},
		{"--admin=:8081 --admin-tls-cert=a.pem --admin-tls-key=a.key --admin-client-ca=ca.pem", ""},
		{"--acme-domains=live.example.com --acme-cache=d", ""},
		{"--acme-domains=*.example.com --acme-cache=d", `flag --acme-domains: acmeDomains[0]: "*.example.com" is not a domain name that a certificate can be obtained for: a wildcard needs a challenge by DNS, which Fanfare does not have; write each name, or use tlsCert`},
		{"--acme-domains=a.example,10.0.0.1 --acme-cache=d", `flag --acme-domains: acmeDomains[1]: "10.0.0.1" is not a domain name that a certificate can be obtained for: it is an IP address; write a name`},
		{"--acme-domains=localhost --acme-cache=d", `flag --acme-domains: acmeDomains[0]: "localhost" is not a domain name that a certificate can be obtained for: write the full name, such as live.example.com`},
		{"--acme-domains=Live.example --acme-cache=d", `flag --acme-domains: acmeDomains[0]: "Live.example" is not a domain name that a certificate can be obtained for: use lower-case letters, digits, dots and hyphens, and Punycode (xn--…) for others`},
		{"--acme-directory=http://ca.example/dir", `flag --acme-directory: acmeDirectory: "http://ca.example/dir" is not the URL of an ACME directory: write https://HOST/PATH`},
		{"--acme-email=ops", `flag --acme-email: acmeEmail: "ops" is not an email address: write name@example.com`},
		// Admin: loopback or a token.
		{"--admin=off", ""},
		{"--admin=localhost:8081", ""},
		{"--admin=LOCALHOST:8081", ""},
		{"--admin=127.9.9.9:8081", ""},
		{"--admin=[::1]:8081", ""},
		{"--admin=[::ffff:127.0.0.1]:8081", ""},
		{"--admin=:8081 --publish-token=t0ken-of-16-bytes", ""},
		{"--admin=:8081 --publish-token=fifteen-bytes-x", `flag --publish-token: publishToken: has 15 bytes, and other machines can reach ":8081" and guess it: give it 16 or more, for example from "openssl rand -hex 16", and change it in the publishers, too; or listen on loopback`},
		{"--admin=127.0.0.1:8081 --publish-token=x", ""},
		{"--max-body-bytes=32MiB --max-body-total-bytes=16MiB", "flag --max-body-total-bytes: maxBodyTotalBytes: 16MiB is less than maxBodyBytes (32MiB, flag --max-body-bytes): raise maxBodyTotalBytes or lower maxBodyBytes"},
		{"--max-head-bytes=1KiB", "flag --max-head-bytes: maxHeadBytes: 1KiB is less than 4KiB, which the fields of browsers and proxies may need: raise it, or write 0 for the default"},
		{"--path=/healthz", `flag --path: path: "/healthz" is the path of a health check, which the stream would hide: choose another path`},
		{"--path=/readyz", `flag --path: path: "/readyz" is the path of a health check, which the stream would hide: choose another path`},
		{"--path=/healthz2", ""},
		{"--admin=none", `flag --admin: admin: "none" is not an address: write [HOST]:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080, or "off" for none`},
		{"--admin=:8081", `flag --admin: admin: ":8081"` + remote},
		{"--admin=0.0.0.0:8081", `flag --admin: admin: "0.0.0.0:8081"` + remote},
		{"--admin=[::]:8081", `flag --admin: admin: "[::]:8081"` + remote},
		{"--admin=10.0.0.1:8081", `flag --admin: admin: "10.0.0.1:8081"` + remote},
		{"--admin=myhost:8081", `flag --admin: admin: "myhost:8081"` + remote},
		{"--admin=localhost.evil.example:8081", `flag --admin: admin: "localhost.evil.example:8081"` + remote},
		{"--admin=127.1:8081", `flag --admin: admin: "127.1:8081"` + remote},
		// Admin on the port of listen.
		{"--admin=127.0.0.1:8080", `flag --admin: admin: "127.0.0.1:8080" uses the same port as listen (":8080", default): give each its own port`},
		{"--listen=127.0.0.1:8081", `admin: "127.0.0.1:8081" uses the same port as listen ("127.0.0.1:8081", flag --listen): give each its own port`},
		{"--listen=localhost:8081", `admin: "127.0.0.1:8081" uses the same port as listen ("localhost:8081", flag --listen): give each its own port`},
		{"--listen=10.0.0.1:8081", ""},
		// Token and origins.
		{"--publish-token=aZ09-._~+/==", ""},
		{"--publish-token==", "flag --publish-token: publishToken: may contain only letters, digits and -._~+/ with = at the end (RFC 6750 2.1), because it is sent in a header"},
		{"--publish-token=a:b", "flag --publish-token: publishToken: may contain only letters, digits and -._~+/ with = at the end (RFC 6750 2.1), because it is sent in a header"},
		{"--admin-origins=https://a.example:8443,http://[::1]:3000,http://localhost:3000", ""},
		{"--admin-origins=* --publish-token=t", ""},
		{"--admin-origins=*", `flag --admin-origins: adminOrigins: "*" lets every page in every browser publish: set publishToken, or name the origins`},
		{"--admin-origins=a.example", `flag --admin-origins: adminOrigins: "a.example" is not an origin: write scheme://host[:port], such as https://app.example`},
		{"--admin-origins=https://A.example/", `flag --admin-origins: adminOrigins: "https://A.example/" is not the form that browsers send: write "https://a.example"`},
		{"--admin-origins=https://a.example:443", `flag --admin-origins: adminOrigins: "https://a.example:443" is not the form that browsers send: write "https://a.example"`},
		{"--admin-origins=null", `flag --admin-origins: adminOrigins: "null" is not an origin: write scheme://host[:port], such as https://app.example`},
		// Stream.
		{"--path=/a/b", ""},
		{"--path=/a/", ""},
		{"--path=/ --no-page", ""},
		{"--path=/", `flag --path: path: "/" is the path of the built-in page: choose another path, or set page to false`},
		{"--path=stream", `flag --path: path: "stream" must begin with a slash: write "/stream"`},
		{"--path=", `flag --path: path: "" must begin with a slash: write "/"`},
		{"--path=/s?x=1", `flag --path: path: "/s?x=1" must not have a query or fragment: clients name the keys (?connectKey=K)`},
		{"--path=/a//b", `flag --path: path: "/a//b" can never match, because clients clean the paths that they request: write "/a/b"`},
		{"--path=/a/../b/", `flag --path: path: "/a/../b/" can never match, because clients clean the paths that they request: write "/b/"`},
		{"--path=//", `flag --path: path: "//" can never match, because clients clean the paths that they request: write "/"`},
		{"--path=/%61", `flag --path: path: "/%61" may contain only visible ASCII characters other than % and backslash`},
		{"--path=/é", `flag --path: path: "/é" may contain only visible ASCII characters other than % and backslash`},
		{"--cache-key=", `flag --cache-key: cacheKey: must not be empty: it is the key of subscribers and publishers that name none (default "@sse/count")`},
		{"--cache-key=\xff", `flag --cache-key: cacheKey: "\xff" is not UTF-8`},
		{"--max-key-bytes=5", "cacheKey: has 10 bytes, more than maxKeyBytes (5, flag --max-key-bytes): shorten it or raise maxKeyBytes"},
		{"--headers=connection:close --headers=X-A:1", ""},
		{"--headers=Content-Encoding:gzip", "flag --headers: headers.Content-Encoding: must not be set: events are sent as they are, so clients would fail to decode the stream (RFC 9110 8.4)"},
		{"--headers=TE:trailers", "flag --headers: headers.TE: must not be set: it is about the connection, which belongs to the server (RFC 9110 7.6.1)"},
		{"--headers=Trailer:X", "flag --headers: headers.Trailer: must not be set: a stream has no trailer fields (RFC 9110 6.6.2)"},
		{"--headers=Connection:upgrade", `flag --headers: headers.Connection: "upgrade" is not a value that a stream can have: write close or keep-alive, or nothing to remove the header`},
		// Between settings: the one that the user gave is blamed.
		{"--retry-min=5s", ""},
		{"--retry-min=6s", "flag --retry-min: retryMin: 6s is more than retryMax (5s, default): lower retryMin or raise retryMax"},
		{"--retry-max=10ms", "flag --retry-max: retryMax: 10ms is less than retryMin (1s, default): raise retryMax or lower retryMin"},
		{"--retry-min=3s --retry-max=2s", "flag --retry-min: retryMin: 3s is more than retryMax (2s, flag --retry-max): lower retryMin or raise retryMax"},
		{"--history-bytes=1MiB", "flag --history-bytes: historyBytes: 1MiB is less than maxEventBytes (2MiB, default): raise historyBytes or lower maxEventBytes"},
		{"--max-body-bytes=1MiB", "flag --max-body-bytes: maxBodyBytes: 1MiB is less than maxEventBytes (2MiB, default): raise maxBodyBytes or lower maxEventBytes"},
		{"--max-event-bytes=17MiB --max-body-bytes=20MiB", "flag --max-event-bytes: maxEventBytes: 17MiB is more than historyBytes (16MiB, default): lower maxEventBytes or raise historyBytes"},
		{"--history-total-bytes=4MiB", "flag --history-total-bytes: historyTotalBytes: 4MiB is less than historyBytes (16MiB, default): raise historyTotalBytes or lower historyBytes"},
	} {
		_, err := load(t, "", nil, strings.Fields(test.flags)...)
		if got := text(err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.flags, got, test.want)
		}
	}
}

func TestValidateHeaders(t *testing.T) {
	for _, test := range []struct{ headers, want string }{
		{"{X-A: 'b c', x!#$%&'*+.^_`|~: ok, X-Empty: '', X-Tab: \"a\\tb\", X-Text: é}", ""},
		{"{Transfer-Encoding: off}", `fanfare.yaml:1:11: headers.Transfer-Encoding: must not be set: the stream has no transfer coding and ends with its connection (RFC 9112 6.3); clients refuse a value such as "off"`},
		{"{date: x}", "fanfare.yaml:1:11: headers.date: must not be set: every response has its own (RFC 9110 6.6.1)"},
		{"{content-LENGTH: 5}", "fanfare.yaml:1:11: headers.content-LENGTH: must not be set: a stream has no length (RFC 9112 6.2)"},
		{"{Content-Type: text/plain}", "fanfare.yaml:1:11: headers.Content-Type: must not be set: an EventSource accepts only text/event-stream (WHATWG HTML 9.2)"},
		{"{X A: 1}", "fanfare.yaml:1:11: headers.X A: ' ' is not allowed in a header's name (RFC 9110 5.6.2: letters, digits and !#$%&'*+-.^_`|~)"},
		{"{'X:A': 1}", "fanfare.yaml:1:11: headers.X:A: ':' is not allowed in a header's name (RFC 9110 5.6.2: letters, digits and !#$%&'*+-.^_`|~)"},
		{"{'': 1}", "fanfare.yaml:1:10: headers: a header has an empty name"},
		{"{Xé: 1}", "fanfare.yaml:1:11: headers.Xé: 'é' is not allowed in a header's name (RFC 9110 5.6.2: letters, digits and !#$%&'*+-.^_`|~)"},
		{`{X-A: "a\r\nSet-Cookie: b"}`, `fanfare.yaml:1:11: headers.X-A: the value has the control character '\r', which would end or break the header (RFC 9110 5.5)`},
		{`{X-A: "a\nb"}`, `fanfare.yaml:1:11: headers.X-A: the value has the control character '\n', which would end or break the header (RFC 9110 5.5)`},
		{`{X-A: "a\0b"}`, `fanfare.yaml:1:11: headers.X-A: the value has the control character '\x00', which would end or break the header (RFC 9110 5.5)`},
		{"{X-A: ' a'}", "fanfare.yaml:1:11: headers.X-A: the value must not begin or end with a space or tab (RFC 9110 5.5)"},
		{"{X-A: 1, x-a: 2}", "fanfare.yaml:1:19: headers.x-a: is given twice: upper and lower case make no difference in header names (X-A)"},
	} {
		_, err := load(t, "headers: "+test.headers, nil)
		if got := text(err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.headers, got, test.want)
		}
	}
	if _, err := load(t, "", []string{"FANFARE_HEADERS=X-A: \xff"}); text(err) != "environment FANFARE_HEADERS: headers.X-A: the value is not UTF-8" {
		t.Error(err)
	}
}

func TestValidateKeyRules(t *testing.T) {
	for _, test := range []struct{ rules, want string }{
		{"[{match: 'a*', history: 2, historyBytes: 2MiB, historyTTL: 1s, slow: skip, maxClients: 1}, {match: '[a-c]?/*'}]", ""},
		{"[{match: 'a[', history: 4}]", "fanfare.yaml:1:16: keys[0].match: \"a[\" is a bad pattern: it has a [ without a ], an empty [], or a backslash at the end (syntax: * ? [a-z] and \\ before a literal)"},
		{"[{match: 'a**', history: 4}, {match: '**'}]", "fanfare.yaml:1:16: keys[0].match: \"a**\" is a bad pattern: ** stands only alone, for all keys; write * for any characters except a slash"},
		{"[{match: a}, {match: ''}]", `fanfare.yaml:1:28: keys[1].match: must not be empty: "*" matches all keys without a slash`},
		{"[{match: a}, {match: a, slow: skip}]", `fanfare.yaml:1:28: keys[1].match: "a" is never used: keys[0] has the same pattern, and the first match counts`},
		{"[{match: a, history: 1}]", "fanfare.yaml:1:28: keys[0].history: 1 is out of range: 2 to 1048576"},
		{"[{match: a, interest: keys}]", `fanfare.yaml:1:29: keys[0].interest: needs a backplane, and backplane is off (default): without one this server is the only one that has the events`},
		{"[{match: a, slow: slip}]", `fanfare.yaml:1:25: keys[0].slow: "slip" is not one of skip, latest, disconnect; did you mean skip?`},
		{"[{match: a, historyTTL: 5}]", "fanfare.yaml:1:31: keys[0].historyTTL: 5ms is out of range: 100ms to 8760h"},
		{"[{match: a, historyBytes: 1MiB}]", "fanfare.yaml:1:33: keys[0].historyBytes: 1MiB is less than maxEventBytes (2MiB, default): raise keys[0].historyBytes or lower maxEventBytes"},
		{"[{match: a, historyBytes: 1GiB}]", "fanfare.yaml:1:33: keys[0].historyBytes: 1GiB is more than historyTotalBytes (256MiB, default): lower keys[0].historyBytes or raise historyTotalBytes"},
		{"[{match: a, history: x}, {match: b, history: 0}, c]", "fanfare.yaml:1:28: keys[0].history: \"x\" is not a whole number: write only digits, such as 1000\n" +
			"fanfare.yaml:1:56: keys[2]: must be a mapping of settings (name: value), not the text \"c\"\n" +
			"fanfare.yaml:1:52: keys[1].history: 0 is out of range: 2 to 1048576"},
	} {
		_, err := load(t, "keys: "+test.rules, nil)
		if got := text(err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.rules, got, test.want)
		}
	}
}

func TestValidateOfAConfigMadeInCode(t *testing.T) {
	c := Defaults()
	c.History, c.Path = 0, "x"
	if got, want := text(c.Validate()), "history: 0 is out of range: 2 to 1048576\npath: \"x\" must begin with a slash: write \"/x\""; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if new(Config).Validate() == nil {
		t.Error("an empty Config is valid")
	}
}
