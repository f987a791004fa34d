package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Preset has the routes of a server, as values for flags. A flag that is given overrides the preset's value.
type Preset struct {
	Name        string  `json:"name"`
	Note        string  `json:"note"` // how the server must be configured
	Base        string  `json:"base"`
	PublishBase string  `json:"publish_base"`
	Subscribe   Request `json:"subscribe"` // with an empty URL, --subscribe is required
	Publish     Request `json:"publish"`   // with an empty URL, --publish is required
	Ready       string  `json:"ready"`
	Batch       bool    `json:"batch"` // a publish request may have several bodies, one after the other
}

// DefaultHeaders of a subscriber: those of a browser's EventSource (WHATWG HTML 9.2.2).
var DefaultHeaders = []string{"Accept: text/event-stream", "Cache-Control: no-cache", "Last-Event-ID: {{.LastEventID}}"}

const byKey = "{{.Base}}/stream?connectKey={{urlquery .Key}}"

// Presets are in the order in which they are listed.
var Presets = []Preset{
	{
		Name: "fanfare", Note: "fanfare with its default configuration",
		Base: "http://127.0.0.1:8080", PublishBase: "http://127.0.0.1:8081",
		Subscribe: get(byKey),
		Publish:   post("{{.PublishBase}}/publish?key={{urlquery .Key}}", "{{.Payload}}", "Content-Type: text/plain"),
		Ready:     ReadyHead,
	},
	{
		Name: "fanfare-batch", Note: "fanfare, events of a request by POST /batch; for --batch", Batch: true,
		Base: "http://127.0.0.1:8080", PublishBase: "http://127.0.0.1:8081",
		Subscribe: get(byKey),
		Publish: post("{{.PublishBase}}/batch", `{"op":"publish","key":{{json .Key}},"data":{{.Payload}}}`+"\n",
			"Content-Type: application/x-ndjson"),
		Ready: ReadyHead,
	},
	{
		Name: "egg-sse", Note: "an Egg application with egg-sse: it has no publish route of its own, so give --publish. It holds the " +
			"head back until the first event or ping, so a subscriber counts as ready once its request has left",
		Base: "http://127.0.0.1:7001", PublishBase: "http://127.0.0.1:7001",
		Subscribe: get(byKey),
		Publish:   post("", "{{.Payload}}", "Content-Type: text/plain"),
		Ready:     ReadySent,
	},
	{
		Name: "mercure", Note: "a Mercure hub that lets anonymous subscribers in; MERCURE_PUBLISHER_JWT is a token that may publish",
		Base: "http://127.0.0.1:3000", PublishBase: "http://127.0.0.1:3000",
		Subscribe: get("{{.Base}}/.well-known/mercure?topic={{urlquery .Key}}"),
		Publish: post("{{.PublishBase}}/.well-known/mercure", "topic={{urlquery .Key}}&data={{urlquery .Payload}}",
			"Content-Type: application/x-www-form-urlencoded", `Authorization: Bearer {{env "MERCURE_PUBLISHER_JWT"}}`),
		Ready: ReadyHead,
	},
	{
		Name: "nchan", Note: "nginx with `location = /sub { nchan_subscriber eventsource; nchan_channel_id $arg_id; }` and " +
			"`location = /pub { nchan_publisher; nchan_channel_id $arg_id; }`",
		Base: "http://127.0.0.1:8080", PublishBase: "http://127.0.0.1:8080",
		Subscribe: get("{{.Base}}/sub?id={{urlquery .Key}}"),
		Publish:   post("{{.PublishBase}}/pub?id={{urlquery .Key}}", "{{.Payload}}", "Content-Type: text/plain"),
		Ready:     ReadyHead,
	},
	{
		Name: "centrifugo", Note: "Centrifugo with uni_sse on, where clients may connect without a token and subscribe to the channels; " +
			"CENTRIFUGO_HTTP_API_KEY is its API key",
		Base: "http://127.0.0.1:8000", PublishBase: "http://127.0.0.1:8000",
		Subscribe: get(`{{.Base}}/connection/uni_sse?cf_connect={{urlquery (printf "{\"subs\":{%s:{}}}" (json .Key))}}`),
		Publish: post("{{.PublishBase}}/api/publish", `{"channel":{{json .Key}},"data":{{.Payload}}}`,
			"Content-Type: application/json", `X-API-Key: {{env "CENTRIFUGO_HTTP_API_KEY"}}`),
		Ready: ReadyHead,
	},
	{
		Name: "pushpin", Note: "Pushpin's publish route; streams have the path of the backend that holds them: give --subscribe",
		Base: "http://127.0.0.1:7999", PublishBase: "http://127.0.0.1:5561",
		Subscribe: get(""),
		Publish: post("{{.PublishBase}}/publish/", `{"items":[{"channel":{{json .Key}},"formats":{"http-stream":{"content":`+
			`{{json (printf "data: %s\n\n" .Payload)}}}}}]}`, "Content-Type: application/json"),
		Ready: ReadyHead,
	},
	{
		Name: "none", Note: "any server: give --subscribe, and --publish with what it needs",
		Subscribe: get(""),
		Publish:   post("", "{{.Payload}}", "Content-Type: text/plain"),
		Ready:     ReadyHead,
	},
}

func get(url string) Request {
	return Request{Method: "GET", URL: url, Headers: slices.Clone(DefaultHeaders)}
}

func post(url, body string, headers ...string) Request {
	return Request{Method: "POST", URL: url, Headers: headers, Body: body}
}

// FindPreset returns the preset with a name. The error lists the names.
func FindPreset(name string) (Preset, error) {
	names := make([]string, len(Presets))
	for i, p := range Presets {
		if p.Name == name {
			p.Subscribe.Headers = slices.Clone(p.Subscribe.Headers)
			p.Publish.Headers = slices.Clone(p.Publish.Headers)
			return p, nil
		}
		names[i] = p.Name
	}
	return Preset{}, fmt.Errorf("unknown preset %q: give one of %s", name, strings.Join(names, ", "))
}

// JSON is the preset's values for a reader.
func (p Preset) JSON() string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(p) // strings and booleans always encode
	return b.String()
}

// SetHeaders replaces headers by name, or adds them.
func (r *Request) SetHeaders(headers []string) {
	for _, h := range headers {
		name, _, _ := strings.Cut(h, ":")
		r.Headers = slices.DeleteFunc(r.Headers, func(old string) bool {
			was, _, _ := strings.Cut(old, ":")
			return strings.EqualFold(was, name)
		})
		r.Headers = append(r.Headers, h)
	}
}
