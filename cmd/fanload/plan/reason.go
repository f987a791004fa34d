package plan

// Reasons why an attempt to connect did not open a stream. They are the values of the tag reason of sse_connect_failed.
const (
	ReasonRefused    = "refused"
	ReasonTimeout    = "timeout"    // no head within --connect-timeout
	ReasonUnanswered = "unanswered" // no head at the end of the run, after at least a second
	ReasonUntried    = "untried"    // the run ended before the subscriber's turn
	ReasonReset      = "reset"      // the connection was reset or ended before the head
	ReasonTLS        = "tls"
	ReasonRedirect   = "redirect"
	ReasonStatus     = "status"
	ReasonType       = "type"     // 200, but not an event stream
	ReasonEncoding   = "encoding" // an event stream that is compressed
	ReasonError      = "error"    // anything else, such as an answer that is not HTTP
)

// Reasons has all of them, for thresholds.
var Reasons = []string{
	ReasonRefused, ReasonTimeout, ReasonUnanswered, ReasonUntried, ReasonReset, ReasonTLS, ReasonRedirect, ReasonStatus, ReasonType,
	ReasonEncoding, ReasonError,
}
