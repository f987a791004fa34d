package transport

import "fmt"

// fasthttpLog passes on what fasthttp says: broken requests, mostly, so as
// debugging information.
type fasthttpLog struct{ s *Server }

func (l fasthttpLog) Printf(format string, args ...any) {
	l.s.settings.Load().Logger.Debug(fmt.Sprintf(format, args...), "from", "fasthttp")
}
