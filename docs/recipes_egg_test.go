package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// prepareEgg makes an application of the folder: with Egg and the plugin, as the tests of the plugin have them.
func prepareEgg(k *kitchen) {
	k.t.Helper()
	modules, err := filepath.Abs("../egg/test/egg4/node_modules")
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "egg")); err != nil {
		k.t.Fatalf("Egg is not installed: scripts/test.sh installs what the tests need (%v)", err)
	}
	if err := os.Symlink(modules, filepath.Join(k.dir, "node_modules")); err != nil {
		k.t.Fatal(err)
	}
	k.write(map[string]string{"package.json": `{"name": "application", "private": true}`})
	k.env = append(k.env, "HOME="+k.dir, "NODE_ENV=production") // Egg's logs are in HOME
	k.listens["node"] = "7001"
}

// checkEgg: logging out ends the stream.
func checkEgg(t *testing.T, k *kitchen) {
	p := proctest.Start(t, k.shell("curl -b jar 'http://127.0.0.1:8080/stream?connectKey=user.42.mail'"))
	eventually.True(t, "the stream is open", func() bool { return strings.Contains(p.Log.String(), "event: position") })
	if text := k.run(step{command: "curl -b jar -b csrfToken=1 -H 'x-csrf-token: 1' -X POST http://127.0.0.1:7001/logout", prints: []string{"bye"}}); text != "" {
		t.Fatal(text)
	}
	p.Wait()
}
