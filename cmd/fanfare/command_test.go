package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"fanfare/cmd/fanfare/config"
)

func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"good.yaml": "history: 4\nmaxKeys: 5\n", "bad.yaml": "histroy: 4\nslow: fast\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const bad = "fanfare: bad.yaml:1:1: histroy: unknown setting; did you mean history?\nfanfare: bad.yaml:2:7: slow: \"fast\" is not one of skip, latest, disconnect\n"
	for _, test := range []struct {
		args, environ string
		code          int
		stdout        string // a part of it
		stderr        string // all of it
	}{
		{"config check", "", 0, "ok: defaults\n", ""},
		{"config check --config good.yaml --history 8", "FANFARE_LISTEN=:1", 0, "ok: defaults, file good.yaml (1 setting in effect), environment (FANFARE_LISTEN), flags (--history)\n", ""},
		{"config check --config bad.yaml", "", 1, "", bad},
		{"config check", "FANFARE_CONFIG=bad.yaml", 1, "", bad},
		{"config check --histroy 4", "", 1, "", "fanfare: unknown flag --histroy; did you mean --history?\n"},
		{"--config bad.yaml", "", 2, "", bad},
		{"config print --config bad.yaml", "", 2, "", bad},
		{"config print --config good.yaml", "", 0, "maxKeys: 5 ", ""},
		{"config docs", "FANFARE_NONSENSE=1", 0, "# Configuration\n", ""},
		{"version", "FANFARE_NONSENSE=1", 0, " " + runtime.Version() + " ", ""},
		{"--help", "", 0, "Usage: fanfare <command> [flags]", ""},
		{"--nonsense", "", 2, "", "fanfare: unknown flag --nonsense\n"},
		{"config", "", 2, "", "fanfare: fanfare config needs a command: one of \"check\", \"print\"\n"},
		{"--version", "FANFARE_NONSENSE=1", 0, " " + runtime.Version() + " ", ""},
		{"-v", "", 0, " " + runtime.Version() + " ", ""},
		{"pub --version", "", 2, "", "fanfare: unknown flag --version; fanfare version prints it\n"},
		{"help", "", 0, "Usage: fanfare <command> [flags]", ""},
		{"help pub", "", 0, "Usage: fanfare pub ", ""},
		{"help config print", "", 0, "Usage: fanfare config print ", ""},
		{"help config", "", 0, "config check", ""},
		{"sub --help", "", 0, "Usage: fanfare sub ", ""},
		{"healthcheck -h", "", 0, "Usage: fanfare healthcheck ", ""},
		{"help nosuch", "", 2, "", "fanfare: unknown command \"nosuch\": use one of serve, config check, config print, healthcheck, pub, sub, version, or see fanfare help\n"},
		{"help config chek", "", 2, "", "fanfare: unknown command \"config chek\"; did you mean config check?\n"},
		{"nosuch", "", 2, "", "fanfare: unknown command \"nosuch\": use one of serve, config check, config print, healthcheck, pub, sub, version, or see fanfare help\n"},
		{"sbu news", "", 2, "", "fanfare: unknown command \"sbu\"; did you mean sub?\n"},
		{"--listen http://localhost:9000/", "", 2, "", "fanfare: flag --listen: listen: \"http://localhost:9000/\" is a URL, not an address: write \"localhost:9000\"\n"},
		{"sub --timeout 1 k", "", 2, "", "fanfare: --timeout: \"1\" has no unit: write 1s, or 1ms for milliseconds\n"},
		{"pub --wait soon k x", "", 2, "", "fanfare: --wait: \"soon\" is not a duration: write a number with a unit, such as 500ms, 10s or 1m30s\n"},
		{"pub --retry", "", 2, "", "fanfare: --retry: needs a value, such as 10s\n"},
		{"pub --retry --all", "", 2, "", "fanfare: --retry: needs a value, such as 10s, but \"--all\" follows\n"},
		{"sub -n -1 k", "", 2, "", "fanfare: --count (-n) is -1 and must not be negative: write 10, or 0 for no limit\n"},
		{"sub -n many k", "", 2, "", "fanfare: --count: \"many\" is not a whole number: write only digits, such as 1000\n"},
		{"sub -n1x k", "", 2, "", "fanfare: --count: \"1x\" is not a whole number: write only digits, such as 1000\n"},
		{"sub --max-bytes 16X k", "", 2, "", "fanfare: --max-bytes: \"16X\" is not a size: write bytes (65536) or a whole number with kB, MB, GB, KiB, MiB or GiB (64KiB)\n"},
		{"sub --max-bytes 0 k", "", 2, "", "fanfare: --max-bytes is 0 and must be more than 0: write 1MiB\n"},
		{"sub --raw=maybe k", "", 2, "", "fanfare: --raw: \"maybe\" is not a boolean: write the flag without a value, or with =true or =false\n"},
		{"sub --color blue k", "", 2, "", "fanfare: --color must be one of \"auto\",\"always\",\"never\" but got \"blue\"\n"},
		{"sub --url 127.0.0.1:8080 k", "", 2, "", "fanfare: --url \"127.0.0.1:8080\" is not a valid URL: write http://127.0.0.1:8080/stream\n"},
		{"sub k", "FANFARE_STREAM=localhost:8080", 2, "", "fanfare: FANFARE_STREAM \"localhost:8080\" is not a valid URL: write http://localhost:8080/stream\n"},
		{"pub --server localhost k x", "", 2, "", "fanfare: --server \"localhost\" is not a valid URL: write http://localhost:8081\n"},
		{"pub k x", "FANFARE_SERVER=[::1]:8081", 2, "", "fanfare: FANFARE_SERVER \"[::1]:8081\" is not a valid URL: write http://[::1]:8081\n"},
		{"healthcheck --admin 127.0.0.1:0", "", 1, "", "fanfare: admin 127.0.0.1:0: the system chose the server's port, which this command cannot know: set a port other than 0\n"},
		{"--admin :8081", "", 2, "", "fanfare: flag --admin: admin: \":8081\" can be reached from other machines, and anyone could publish: set publishToken (environment FANFARE_PUBLISH_TOKEN), or listen on loopback (127.0.0.1:8081)\n"},
	} {
		var stdout, stderr strings.Builder
		code := run(strings.Fields(test.args), strings.Fields(test.environ), &stdout, &stderr, func(*config.Config, func() (*config.Config, error)) error {
			t.Errorf("%q serves", test.args)
			return nil
		})
		if code != test.code || !strings.Contains(stdout.String(), test.stdout) || stderr.String() != test.stderr || (code != 0 && stdout.Len() > 0) {
			t.Errorf("%q: exit code %d, want %d\nstdout: %s\nstderr: %s", test.args, code, test.code, stdout.String(), stderr.String())
		}
	}
}

func TestRunServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("history: 4\n")
	var stdout, stderr strings.Builder
	code := run([]string{"--listen", ":9000", "--config", path}, nil, &stdout, &stderr, func(cfg *config.Config, load func() (*config.Config, error)) error {
		if cfg.Listen != ":9000" || cfg.History != 4 {
			t.Errorf("%+v", cfg)
		}
		write("history: 8\n")
		again, err := load()
		if err != nil || again.Listen != ":9000" || again.History != 8 {
			t.Errorf("%+v, %v", again, err)
		}
		write("history: 1\n")
		if again, err = load(); err == nil || again != nil {
			t.Errorf("%+v, %v", again, err)
		}
		return errors.New("first\nsecond")
	})
	if code != exitRuntime || stdout.Len() > 0 || stderr.String() != "fanfare: first\nfanfare: second\n" {
		t.Errorf("exit code %d, stdout %s, stderr %s", code, stdout.String(), stderr.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestRunReportsAFailedWrite(t *testing.T) {
	var stderr strings.Builder
	if code := run([]string{"version"}, nil, brokenPipe{}, &stderr, nil); code != exitRuntime || stderr.String() != "fanfare: broken pipe\n" {
		t.Errorf("exit code %d, stderr %s", code, stderr.String())
	}
}
