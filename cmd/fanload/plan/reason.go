package plan

// Reasons why an attempt to connect has opened no stream: the metric sse_connect_failed has them as the tag reason.
const (
	ReasonRefused    = "refused"
	ReasonTimeout    = "timeout"    // no head within the plan's time
	ReasonUnanswered = "unanswered" // no head when the run was over, after a second at least
	ReasonUntried    = "untried"    // the run was over before the subscriber's turn
	ReasonReset      = "reset"      // or an end, before a head
	ReasonTLS        = "tls"
	ReasonRedirect   = "redirect"
	ReasonStatus     = "status"
	ReasonType       = "type"     // 200, but no event stream
	ReasonEncoding   = "encoding" // an event stream that is compressed
	ReasonError      = "error"    // anything else, such as an answer that is not HTTP
)

// Reasons are all of them, for thresholds.
var Reasons = []string{
	ReasonRefused, ReasonTimeout, ReasonUnanswered, ReasonUntried, ReasonReset, ReasonTLS, ReasonRedirect, ReasonStatus, ReasonType,
	ReasonEncoding, ReasonError,
}
