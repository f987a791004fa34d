package plan

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/template"
)

// Vars has the values that templates can use.
type Vars struct {
	Base, PublishBase string // --base and --publish-base, without a slash at the end
	Run               string // a short random name of this run
	Key               string // the key's name, of the --key template
	KeyIndex          int    // from 0
	Subscriber        int    // from 0; 0 in a publish request
	LastEventID       string // of a subscriber that reconnects; otherwise ""
	Seq               int64  // of the event; 0 in a subscribe request
	TS                int64  // microseconds, monotonic
	Payload           string // the event's data, a JSON object
}

var functions = template.FuncMap{
	"env":    env,
	"json":   jsonText,
	"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
}

// env reads an environment variable, so that tokens need not be on the command line. A variable that is not set is an error.
func env(name string) (string, error) {
	if v, ok := os.LookupEnv(name); ok {
		return v, nil
	}
	return "", fmt.Errorf("the environment variable %s is not set: set it, or override the template that uses it", name)
}

func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// Renderer renders a request from parsed templates. It reuses its buffers, so it is not safe for concurrent use.
type Renderer struct {
	what    string
	origin  string // "http://host:port", or "https://", of the first rendering; all others must have the same
	host    string
	method  string
	url     *template.Template
	names   []string
	headers []*template.Template
	body    *template.Template
	scratch bytes.Buffer
}

// Compile parses the templates of a request. what is the prefix of its flags in errors: "subscribe" or "publish".
func (r Request) Compile(what string) (*Renderer, error) {
	c := &Renderer{what: what, method: r.Method}
	if c.method == "" || strings.ContainsFunc(c.method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return nil, fmt.Errorf("--%s-method %q is not valid: give a method such as GET or POST", what, r.Method)
	}
	var err error
	if c.url, err = parse("--"+what, r.URL); err != nil {
		return nil, err
	}
	for _, h := range r.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") {
			return nil, fmt.Errorf("--%s-header %q is not valid: give Name: value", what, h)
		}
		t, err := parse("--"+what+"-header "+name, strings.TrimSpace(value))
		if err != nil {
			return nil, err
		}
		c.names, c.headers = append(c.names, name), append(c.headers, t)
	}
	if c.body, err = parse("--"+what+"-body", r.Body); err != nil {
		return nil, err
	}
	return c, nil
}

func parse(flag, text string) (*template.Template, error) {
	t, err := template.New(flag).Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		_, why, _ := strings.Cut(strings.TrimPrefix(err.Error(), "template: "+flag+":"), ": ")
		return nil, fmt.Errorf("%s %q: the template cannot be parsed: %s", flag, text, cmp.Or(why, err.Error()))
	}
	return t, nil
}

// Origin is "http://host:port", or "https://", of what was rendered; "" before the first rendering.
func (c *Renderer) Origin() string { return c.origin }

// Append renders the whole HTTP/1.1 request for v. With several events in batch, it renders the body once for each, one after
// the other, and the URL and headers for the first.
func (c *Renderer) Append(dst []byte, v *Vars, batch ...*Vars) ([]byte, error) {
	target, err := c.target(v)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, c.method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, c.host...)
	dst = append(dst, "\r\n"...)
	for i, t := range c.headers {
		value, err := c.render(t, v)
		if err != nil {
			return dst[:start], err
		}
		if bytes.ContainsAny(value, "\r\n\x00") {
			return dst[:start], fmt.Errorf("--%s-header %s: renders to %q: a header must not have a line break", c.what, c.names[i], value)
		}
		if len(value) == 0 {
			continue
		}
		dst = append(dst, c.names[i]...)
		dst = append(dst, ": "...)
		dst = append(dst, value...)
		dst = append(dst, "\r\n"...)
	}
	body, err := c.render(c.body, v)
	if err != nil {
		return dst[:start], err
	}
	for _, more := range batch {
		if err := c.body.Execute(&c.scratch, more); err != nil {
			return dst[:start], err
		}
		body = c.scratch.Bytes()
	}
	if len(body) > 0 || c.method != "GET" {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...), nil
}

// render returns bytes that are valid until the next call.
func (c *Renderer) render(t *template.Template, v *Vars) ([]byte, error) {
	c.scratch.Reset()
	if err := t.Execute(&c.scratch, v); err != nil {
		return nil, err
	}
	return c.scratch.Bytes(), nil
}

// target renders the URL and returns its path and query. All requests of a renderer have the same origin. It is taken from the
// first one, so the URL of each event need not be parsed.
func (c *Renderer) target(v *Vars) (string, error) {
	raw, err := c.render(c.url, v)
	if err != nil {
		return "", err
	}
	u := string(raw)
	if c.origin == "" {
		if err := c.setOrigin(u); err != nil {
			return "", err
		}
	}
	rest, ok := strings.CutPrefix(u, c.origin)
	if !ok || (rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#') {
		return "", fmt.Errorf("--%s: renders to %q, but earlier to %s: all URLs must have the same host and port", c.what, u, c.origin)
	}
	rest, _, _ = strings.Cut(rest, "#")
	for i := range len(rest) {
		if rest[i] <= ' ' || rest[i] == 0x7F {
			return "", fmt.Errorf("--%s: renders to %q: white space must be escaped, as {{urlquery .Key}} does", c.what, u)
		}
	}
	if rest == "" || rest[0] == '?' {
		rest = "/" + rest
	}
	return rest, nil
}
