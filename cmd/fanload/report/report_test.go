package report_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/report"
)

func sample() *report.Result {
	var h measure.Histogram
	for i := range int64(10_000) {
		h.Record(100 + i*i/1000)
	}
	r := &report.Result{
		Command: "fanload open --key '<script>'", Plan: plan.Plan{Mode: "open", Preset: "none", Address: "127.0.0.1:1"},
		Latency: h.Summary(), Curve: report.Curve(&h), Statuses: map[string]int64{"404: <script>\x1b[2J": 3},
		Server: &report.Server{CPUPerDelivery: 6.2, RSSPerConnection: 4900},
	}
	r.Deliveries = report.Deliveries{Total: 10_000, Measured: 10_000, PerSecond: 1234}
	r.Sequence.Lost = 2
	for i := range 50 {
		p := report.Point{At: float64(i), Delivered: int64(i * 200), Open: 10, RSS: 1e7 + int64(i)*1000, CPU: int64(i) * 1e5}
		if i < 20 || i > 30 { // nothing came in between, and much of it behind
			p.Latency = &measure.Spread{Count: 200, P50: 300, P99: 900, P999: 1000, Max: 1100}
		}
		if i == 31 {
			p.Latency.P99, p.Late = 8_000_000, 40
		}
		r.Timeline = append(r.Timeline, p)
	}
	return r
}

func TestThresholds(t *testing.T) {
	r := sample() // p50 25 ms, max 100 ms
	for text, held := range map[string]bool{
		"p50<26ms": true, "p50<25ms": false, "p99.9<0.2s": true, "max <= 101 ms": true, "max>1s": false, "mean<1m": true,
		"lost==0": false, "lost==2": true, "lost=2": true, "lost!=2": false, "lost<3": true, "lost>=2": true,
		"deliveries_per_second>=1_000": true, "deliveries_per_second>1.3k/s": false, "deliveries>=10e3": true,
		"cpu_per_delivery<=6200ns": true, "rss_per_connection<5kB": true, "rss_per_connection<4KiB": false,
		"reconnect_p99<1s": false, // nothing was measured
		"worst_p99<8s":     false, "worst_p99<=8s": true, "tls_max<1m": false,
	} {
		c, err := report.ParseThreshold(text, true)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if v := c.Judge(r); v.Held != held {
			t.Errorf("%s: %+v", text, v)
		}
	}
	for text, want := range map[string]string{
		"":                   "METRIC OPERATOR VALUE",
		"p99":                "METRIC OPERATOR VALUE",
		"p99<fast":           "METRIC OPERATOR VALUE",
		"p99<50":             "with its unit",
		"p99<50kB":           "with its unit",
		"lost==0ms":          "a number",
		"speed>1":            "deliveries_per_second",
		"rss_max<1GB":        "--server-pid",
		"rss_max<1parsec":    "--server-pid",
		"deliveries>1e99999": "is not a number",
	} {
		if _, err := report.ParseThreshold(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestLowerBounds: what was not over is at least as long, and nobody may conclude that it is short.
func TestLowerBounds(t *testing.T) {
	r := sample()
	var h measure.Histogram
	for range 90 {
		h.Record(100)
	}
	h.RecordN(5_000_000, 10)
	r.Round = h.Summary()
	r.Round.Unfinished = 10
	for text, held := range map[string]bool{
		"round_p90<1s": true, "round_p50==100us": true, "round_p99<10s": false, "round_p99<=10s": false, "round_p99>1s": true,
		"round_p99>10s": false, "round_max!=50s": false, "round_mean<10s": false, "round_min<1s": true,
	} {
		c, err := report.ParseThreshold(text, true)
		if err != nil {
			t.Fatal(err)
		}
		if v := c.Judge(r); v.Held != held {
			t.Errorf("%s: %+v", text, v)
		}
	}
	var b strings.Builder
	if err := r.Table(&b); err != nil || !strings.Contains(b.String(), "100 us  100 us  >= 5.00 s") || !strings.Contains(b.String(), "10: they took at least") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}

func TestPageStandsAlone(t *testing.T) {
	var b strings.Builder
	if err := sample().Page(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	// Five of one line each; p50, p99 and max are interrupted, and the schedule is a dot.
	if strings.Count(page, "<svg") != 6 || strings.Count(page, "<polyline") != 5+3*2+1 {
		t.Errorf("%d plots, %d lines", strings.Count(page, "<svg"), strings.Count(page, "<polyline"))
	}
	if bad := regexp.MustCompile(`(?i)<script|src=|href=|url\(|@import|NaN|Inf`).FindString(page); bad != "" {
		t.Errorf("the page has %q", bad)
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
	}
	if err := (&report.Result{}).Page(io.Discard); err != nil {
		t.Errorf("an empty result: %v", err)
	}
}

func TestTableAndJSON(t *testing.T) {
	var b strings.Builder
	r := sample()
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10,000, 1,234/s", "lost", "6.20 us", "4.90 kB connected", "3 x 404: <script> [2J", "8 s, in the interval up to second 31"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &b)
		}
	}
	b.Reset()
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var again report.Result
	if err := json.Unmarshal([]byte(b.String()), &again); err != nil || again.Latency != r.Latency || again.Sequence != r.Sequence {
		t.Errorf("%v: %+v", err, again)
	}
}

func TestGrowth(t *testing.T) {
	if g := report.Growth(sample().Timeline, 10); g < 59_999 || g > 60_001 {
		t.Errorf("1000 B a second are %g a minute", g)
	}
	if g := report.Growth(nil, 0); g != 0 {
		t.Errorf("nothing grows by %g", g)
	}
}

// TestMetricsAreDocumented: each can be found in the guide, those of a histogram by their prefix.
func TestMetricsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../docs/fanload.md")
	if err != nil {
		t.Fatal(err)
	}
	_, guide, _ := strings.Cut(string(b), "## Thresholds")
	guide, _, _ = strings.Cut(guide, "\n## ")
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(guide, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		words[w] = true
	}
	for _, name := range report.MetricNames() {
		i := strings.LastIndexByte(name, '_') + 1
		if !words[name] && !(words[name[:i]] && words[name[i:]]) {
			t.Errorf("%s is not documented", name)
		}
	}
}
