package check_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"fanfare/internal/test/proctest"
)

const composeFolder = "../compose"

// token is what the reader of compose.yaml makes with openssl.
const token = "0123456789abcdef0123456789abcdef"

// loadCompose reads a compose file as `docker compose` does: against the schema of the specification, with variables.
func loadCompose(t *testing.T, file string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv([]string{"FANFARE_PUBLISH_TOKEN=" + token}), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

// nodes are the services that run Fanfare.
func nodes(p *types.Project) (names []string) {
	for name, s := range p.Services {
		if s.Environment["FANFARE_BACKPLANE"] != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func setting(s types.ServiceConfig, name string) string {
	if value := s.Environment[name]; value != nil {
		return *value
	}
	return ""
}

// composeProblems returns what does not fit together between the compose file and HAProxy's configuration.
//
// owned is the directory of the image that belongs to its user.
func composeProblems(p *types.Project, haproxy, owned string) []string {
	c := &complaints{}
	all := nodes(p)
	if len(all) != 3 {
		c.add("%d nodes: %v", len(all), all)
	}
	mounted := map[string]string{}
	for _, port := range []string{"8080", "8081"} {
		var servers []string
		for _, m := range regexp.MustCompile(`(?m)^    server (\S+) (\S+):(\d+) check$`).FindAllStringSubmatch(haproxy, -1) {
			if m[1] != m[2] {
				c.add("server %s is %s", m[1], m[2])
			}
			if m[3] == port {
				servers = append(servers, m[2])
			}
		}
		if slices.Sort(servers); !slices.Equal(servers, all) {
			c.add("HAProxy sends port %s to %v, and the nodes are %v", port, servers, all)
		}
	}
	for _, name := range all {
		s := p.Services[name]
		drain := parse(c, setting(s, "FANFARE_DRAIN_DELAY")) + parse(c, setting(s, "FANFARE_DRAIN_TIMEOUT"))
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < drain+5*time.Second {
			c.add("%s: stop_grace_period (%v) is not 5 s longer than drainDelay + drainTimeout (%s)", name, s.StopGracePeriod, drain)
		}
		checkDataDir(c, s, owned, mounted)
		if setting(s, "FANFARE_NODE_NAME") != name {
			c.add("%s has the node name %q", name, setting(s, "FANFARE_NODE_NAME"))
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			c.add("%s: read_only %v, cap_drop %v, cap_add %v, security_opt %v", name, s.ReadOnly, s.CapDrop, s.CapAdd, s.SecurityOpt)
		}
		if d := s.DependsOn["nats"]; d.Condition != types.ServiceConditionHealthy {
			c.add("%s does not wait until nats is healthy", name)
		}
		if host, _, _ := strings.Cut(strings.TrimPrefix(setting(s, "FANFARE_NATS_URL"), "nats://"), ":"); p.Services[host].Name == "" {
			c.add("%s: FANFARE_NATS_URL names %q, which is not a service", name, host)
		}
	}
	proxy := p.Services["haproxy"]
	for _, port := range proxy.Ports {
		if !strings.Contains(haproxy, fmt.Sprintf("bind :%d", port.Target)) {
			c.add("HAProxy does not listen on port %d", port.Target)
		}
		if port.Target == 8081 && port.HostIP != "127.0.0.1" {
			c.add("other machines reach the publish API")
		}
	}
	if !strings.Contains(haproxy, "balance leastconn") {
		c.add("HAProxy does not choose the node with the fewest streams")
	}
	// /readyz must fail for as long as HAProxy needs to notice, before the first stream ends.
	if m := regexp.MustCompile(`inter (\S+) fall (\d+)`).FindStringSubmatch(haproxy); m == nil {
		c.add("HAProxy's checks have no interval")
	} else if notices, delay := parse(c, m[1])*time.Duration(m[2][0]-'0'), parse(c, setting(p.Services["fanfare1"], "FANFARE_DRAIN_DELAY")); delay <= notices {
		c.add("drainDelay (%s) is not longer than HAProxy needs to notice (%s)", delay, notices)
	}
	return c.list
}

// checkDataDir checks that a node may write to its dataDir, and shares it with no other. mounted has the nodes of the volumes that were
// seen.
func checkDataDir(c *complaints, s types.ServiceConfig, owned string, mounted map[string]string) {
	dir := setting(s, "FANFARE_DATA_DIR")
	i := slices.IndexFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == dir && !v.ReadOnly })
	switch {
	case dir == "":
		c.add("%s has no FANFARE_DATA_DIR: it would not notice that NATS was restored from a backup", s.Name)
	case i < 0 || s.Volumes[i].Type != types.VolumeTypeVolume || s.Volumes[i].Source == "":
		c.add("%s: %s is not a volume that it may write to and that lasts", s.Name, dir)
	case mounted[s.Volumes[i].Source] != "":
		c.add("%s and %s share the volume %s", mounted[s.Volumes[i].Source], s.Name, s.Volumes[i].Source)
	case dir != owned: // Docker copies the owner of the image's directory to a new volume, and root owns one that is not in the image
		c.add("%s: root will own the volume at %s, because the directory that the image gives to its user is %q", s.Name, dir, owned)
	default:
		mounted[s.Volumes[i].Source] = s.Name
	}
}

// ownedDir returns the directory of the image that its Dockerfile gives to the image's user.
func ownedDir(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^USER (\S+)$`).FindSubmatch(text)
	dir := regexp.MustCompile(`(?m)^COPY --from=build --chown=(\S+) /out/data (\S+)$`).FindSubmatch(text)
	if user == nil || dir == nil || string(user[1]) != string(dir[1]) {
		t.Fatalf("the Dockerfile's user is %q, and it gives a directory to the user %q", user, dir)
	}
	return string(dir[2])
}

func parse(c *complaints, text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		c.add("%v", err)
	}
	return d
}

func TestCompose(t *testing.T) {
	project, err := loadCompose(t, composeFolder+"/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	haproxy, err := os.ReadFile(composeFolder + "/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range composeProblems(project, string(haproxy), ownedDir(t)) {
		t.Error(p)
	}
	for _, c := range project.Configs {
		if _, err := os.Stat(c.File); err != nil {
			t.Error(err)
		}
	}
	for _, name := range nodes(project) {
		cmd := exec.Command(binary, "config", "check")
		cmd.Env = proctest.Environment(composeEnvironment(project.Services[name])...)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	// The names of the services are Docker's: here they do not resolve, which is a warning.
	if out, err := exec.Command(proctest.Tool(t, "haproxy"), "-c", "-f", composeFolder+"/haproxy.cfg").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func composeEnvironment(s types.ServiceConfig) (env []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		env = append(env, name+"="+setting(s, name))
	}
	return env
}

// TestComposeNeedsAToken: without one the nodes would not start, each with an error of its own.
func TestComposeNeedsAToken(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{composeFolder + "/compose.yaml"}, cli.WithEnv(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = options.LoadProject(context.Background()); err == nil || !strings.Contains(err.Error(), "make one with openssl") {
		t.Errorf("without a token: %v", err)
	}
}

// TestComposeProblems breaks the files, and expects that it is found.
func TestComposeProblems(t *testing.T) {
	compose, err := os.ReadFile(composeFolder + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	haproxy, err := os.ReadFile(composeFolder + "/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"stop_grace_period: 40s", "stop_grace_period: 20s", "is not 5 s longer than drainDelay + drainTimeout (25s)"},
		{"FANFARE_DRAIN_DELAY: 5s", "FANFARE_DRAIN_DELAY: 3s", "drainDelay (3s) is not longer than HAProxy needs to notice (4s)"},
		{"inter 2s fall 2", "inter 5s fall 3", "drainDelay (5s) is not longer than HAProxy needs to notice (15s)"},
		{"server fanfare2 fanfare2:8080 check", "server fanfare2 fanfare1:8080 check", "server fanfare2 is fanfare1"},
		{"    server fanfare3 fanfare3:8081 check\n", "", "HAProxy sends port 8081 to [fanfare1 fanfare2]"},
		{"FANFARE_NODE_NAME: fanfare2", "FANFARE_NODE_NAME: fanfare1", "fanfare2 has the node name"},
		{"nats://nats:4222", "nats://broker:4222", `names "broker"`},
		{"127.0.0.1:8081:8081", "8081:8081", "other machines reach the publish API"},
		{"balance leastconn", "balance roundrobin", "the fewest streams"},
		{"service_healthy", "service_started", "does not wait until nats is healthy"},
		{"FANFARE_DATA_DIR: /var/lib/fanfare", "FANFARE_DATA: /var/lib/fanfare", "fanfare1 has no FANFARE_DATA_DIR"},
		{"fanfare2:/var/lib/fanfare\"", "fanfare1:/var/lib/fanfare\"", "fanfare1 and fanfare2 share the volume fanfare1"},
		{"fanfare2:/var/lib/fanfare\"", "/var/lib/fanfare\"", "fanfare2: /var/lib/fanfare is not a volume"}, // of no name: made anew with the container
		{"fanfare3:/var/lib/fanfare\"", "fanfare3:/var/lib/fanfare:ro\"", "fanfare3: /var/lib/fanfare is not a volume that it may write to"},
		{"/var/lib/fanfare", "/data/fanfare", "root will own the volume at /data/fanfare"},
		{"read_only: true", "read_only: false", "read_only false"},
		{"restart: unless-stopped", "restart_policy: always", "restart_policy"},             // by the schema
		{"      - events:/data", "      - event:/data", `undefined volume event`},           // by the library
		{"depends_on: [fanfare1,", "depends_on: [fanfare4,", `undefined service "fanfare4`}, // by the library
	} {
		file := t.TempDir() + "/compose.yaml"
		brokenCompose, brokenProxy := strings.ReplaceAll(string(compose), c.old, c.new), strings.ReplaceAll(string(haproxy), c.old, c.new)
		if brokenCompose == string(compose) && brokenProxy == string(haproxy) {
			t.Errorf("neither file has %q", c.old)
			continue
		}
		if err := os.WriteFile(file, []byte(brokenCompose), 0o600); err != nil {
			t.Fatal(err)
		}
		found := ""
		if project, err := loadCompose(t, file); err != nil {
			found = err.Error()
		} else {
			found = strings.Join(composeProblems(project, brokenProxy, ownedDir(t)), "\n")
		}
		if !strings.Contains(found, c.want) {
			t.Errorf("with %q in place of %q: found %q, want %q", c.new, c.old, found, c.want)
		}
	}
}
