package proctest

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Log collects what a process or a logger writes while the test reads it. The zero value is ready.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends to the log.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var textField = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S*)`)

// Records returns the lines of log/slog with this message, in either of its formats.
func (l *Log) Records(msg string) (records []map[string]any) {
	for line := range strings.Lines(l.String()) {
		var r map[string]any
		if json.Unmarshal([]byte(line), &r) != nil {
			r = make(map[string]any)
			for _, field := range textField.FindAllStringSubmatch(line, -1) {
				r[field[1]] = field[2]
				if value, err := strconv.Unquote(field[2]); err == nil {
					r[field[1]] = value
				}
			}
		}
		if r["msg"] == msg {
			records = append(records, r)
		}
	}
	return records
}

// Find returns the first record with this message, or nil.
func (l *Log) Find(msg string) map[string]any {
	if all := l.Records(msg); len(all) > 0 {
		return all[0]
	}
	return nil
}
