package redisconn

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// ParseURL returns the options that a URL means. An error says what is wrong with the URL, and never contains any part of it,
// since that may be a password. The forms are:
//
//	redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
//	rediss://…                                        with TLS, verified by the system's certificates
//	unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DATABASE]
//	redis://…?addr=HOST2:PORT2                        more addresses, tried in turn
//	redis://HOST:26379?master_set=NAME                the master that Sentinels know by this name; Sentinels with a password are
//	                                                  not supported
func ParseURL(text string) (rueidis.ClientOption, error) {
	u, err := url.Parse(text)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("is not a valid URL: write redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], " +
			"with %-escapes for special characters of the password (%40 for @, %2F for /)")
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		if _, port, err := net.SplitHostPort(u.Host); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				return rueidis.ClientOption{}, errors.New("has no valid port: write a number from 1 to 65535")
			}
		}
		if db := strings.TrimPrefix(u.Path, "/"); db != "" {
			if n, err := strconv.Atoi(db); err != nil || n < 0 {
				return rueidis.ClientOption{}, errors.New("has no valid database after the host: write a number, such as /0; " +
					"special characters of the password need %-escapes (%2F for /)")
			}
		}
		u.Path = strings.TrimSuffix(u.Path, "/")
	case "unix":
		if u.Path == "" || u.Host != "" {
			return rueidis.ClientOption{}, errors.New("has no socket path: write unix:///PATH/TO/SOCKET")
		}
	default:
		return rueidis.ClientOption{}, errors.New("must begin with redis://, rediss:// (TLS) or unix:// (a socket)")
	}
	o, err := rueidis.ParseURL(u.String())
	if err != nil {
		return rueidis.ClientOption{}, errors.New("has an invalid parameter after the ?: " +
			"db and protocol take a number, skip_verify true or false")
	}
	return o, nil
}
