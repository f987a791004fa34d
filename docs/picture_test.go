package docs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	picture       = "page.png" // the README's picture of the built-in page
	pictureWidth  = 1200
	pictureHeight = 610
	pictureBytes  = 100_000 // at most
	hashKeyword   = "Page-SHA256"
)

// TestPicture checks that the README's picture shows the page that the server serves: the picture carries the hash of the page
// that it was taken of. With FANFARE_PICTURES=1 it takes a new picture first.
func TestPicture(t *testing.T) {
	server := startFanfare(t, t.TempDir())
	hash := pageHash(t, server.Stream)
	if os.Getenv("FANFARE_PICTURES") != "" {
		shot := withText(t, takePicture(t, server.Stream, server.Admin), hashKeyword, hash)
		if err := os.WriteFile(picture, shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	config, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: %v", picture, err)
	}
	if config.Width != pictureWidth || config.Height != pictureHeight || len(b) > pictureBytes {
		t.Errorf("%s has %d x %d pixels and %d bytes, want %d x %d and at most %d bytes",
			picture, config.Width, config.Height, len(b), pictureWidth, pictureHeight, pictureBytes)
	}
	if !bytes.Contains(b, textChunk(hashKeyword, hash)) {
		t.Errorf("the page has changed since %s was taken: run FANFARE_PICTURES=1 go test -run TestPicture ./docs", picture)
	}
	if !strings.Contains(read(t, "../README.md"), "](docs/"+picture+")") {
		t.Errorf("README.md does not show docs/%s", picture)
	}
}

// pageHash is the hash of the page that a server serves, without its configuration, which contains the port.
func pageHash(t *testing.T, stream string) string {
	t.Helper()
	resp, err := http.Get(stream + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /: %s, %v", resp.Status, err)
	}
	config := regexp.MustCompile(`(<script type="application/json" id="config">).*?(</script>)`)
	if !config.Match(page) {
		t.Fatal("the page has no configuration")
	}
	sum := sha256.Sum256(config.ReplaceAll(page, []byte("$1$2")))
	return hex.EncodeToString(sum[:])
}

// takePicture opens the page with two keys, publishes events to both, and returns the picture when it shows all of them.
func takePicture(t *testing.T, stream, admin string) []byte {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: scripts/test.sh installs what the tests need")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("lang", "en"), chromedp.WSURLReadTimeout(patience))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()

	// Wait until the stream is open, so that the page shows the events as live ones.
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	do("window", chromedp.Do(ctx, chromedp.EmulateViewport(pictureWidth, pictureHeight)))
	do("page", chromedp.Do(ctx, chromedp.Navigate(stream+"/?connectKey=news&connectKey=prices")))
	do("stream", await(ctx, `document.getElementById("state").textContent === "open"`))

	for _, event := range []struct{ key, body string }{
		{"news", `{"data":"Hello, everybody."}`},
		{"prices", `{"event":"quote","data":{"symbol":"FAN","price":101.25,"currency":"EUR"}}`},
		{"news", `{"event":"headline","data":{"title":"Doors open at nine","tags":["today","town hall"]}}`},
		{"prices", `{"event":"quote","data":{"symbol":"FAN","price":101.5,"currency":"EUR"}}`},
	} {
		resp, err := http.Post(admin+"/publish?key="+url.QueryEscape(event.key), "application/json", strings.NewReader(event.body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("publish: %s", resp.Status)
		}
	}
	do("events", await(ctx, `document.querySelectorAll("#list li.event").length === 4`))
	do("publish form", await(ctx, `!document.getElementById("publish").hidden`))
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	do("picture", err)
	return shot
}

// await polls a condition in the page until it holds or ctx ends.
func await(ctx context.Context, condition string) error {
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
		if err != nil {
			return fmt.Errorf("%s: %w", condition, err)
		}
		if ok {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// withText inserts a text chunk before the image data of a PNG (PNG, third edition, 11.3.3.2).
func withText(t *testing.T, image []byte, keyword, text string) []byte {
	t.Helper()
	at := bytes.Index(image, []byte("IDAT")) - 4 // the chunk's length comes before its type
	if at < 0 {
		t.Fatal("the picture has no image data")
	}
	return append(append(append([]byte{}, image[:at]...), textChunk(keyword, text)...), image[at:]...)
}

// textChunk is a tEXt chunk: length, type, data, and the checksum over type and data.
func textChunk(keyword, text string) []byte {
	body := "tEXt" + keyword + "\x00" + text
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(body)-len("tEXt")))
	chunk = append(chunk, body...)
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE([]byte(body)))
}
