package measure

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadMachine(t *testing.T) {
	for text, want := range map[string]Machine{
		"cpu  1 2 3 400 500 6 7 8 100 100\ncpu0 1 1 1 1 1 1 1 1 1 1\n": {Busy: 190_000, Stolen: 80_000},
		"cpu  1 2 3 400 500 6 7\n":                                     {}, // of a kernel too old to know of stolen time
		"cpu  1 2 three 400 500 6 7 8 9 10\n":                          {},
		"":                                                             {},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := readMachine(dir); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if got := readMachine(t.TempDir()); got != (Machine{}) {
		t.Errorf("without the file: %+v", got)
	}
	if got := ReadMachine(); got.Busy <= 0 {
		t.Errorf("this machine: %+v", got)
	}
}
