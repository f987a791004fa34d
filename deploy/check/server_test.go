package check_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/proctest"
)

// binary is the server, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary, "../../cmd/fanfare")) }

// credentials is a file as NATS makes it, with a key that was made for this test. The NATS server of the test asks for none.
const credentials = `-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.AA
------END NATS USER JWT------
-----BEGIN USER NKEY SEED-----
SUAMYRMBVRGM5PIP3EUYGTZBZMG33SQRCWGKEMCHQAV45RZ3VCLCQNSUMY
------END USER NKEY SEED------
`

// unpack writes what the pod would find in its file system into a folder, and returns the configuration's file and the pod. Files of
// Secrets that the chart does not make are certificates, keys and credentials of the test.
func unpack(t *testing.T, valuesFile string) (config string, pod core.PodSpec) {
	t.Helper()
	text, err := render(t, valuesFile, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.pods {
		pod = p.Spec
	}
	root, cert := t.TempDir(), certtest.New(t, "127.0.0.1")
	copyTo := func(from, to string) {
		content, err := os.ReadFile(from)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		folder := root + mount.MountPath
		switch mount.Name {
		case "config":
			content := strings.ReplaceAll(m.configs["fanfare"].Data["fanfare.yaml"], "/etc/fanfare/", root+"/etc/fanfare/")
			content = strings.ReplaceAll(content, "/var/lib/fanfare", root+"/var/lib/fanfare")
			config = folder + "/fanfare.yaml"
			if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(config, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		case "stream-tls", "admin-tls":
			copyTo(cert.Cert, folder+"/tls.crt")
			copyTo(cert.Key, folder+"/tls.key")
		case "keys":
			copyTo(cert.Cert, folder+"/jwt.pem") // a certificate has a public key
		case "nats":
			if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(folder+"/nats.creds", []byte(credentials), 0o600)); err != nil {
				t.Fatal(err)
			}
		case "data":
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("this test does not know what is in volume %s", mount.Name)
		}
	}
	return config, pod
}

// environment is the pod's.
func environment(t *testing.T, config string, pod core.PodSpec) []string {
	t.Helper()
	env := []string{
		"FANFARE_PUBLISH_TOKEN=0123456789abcdef", // of the Secret
	}
	for _, e := range pod.Containers[0].Env {
		switch {
		case e.Name == "FANFARE_CONFIG":
			e.Value = config
		case e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "metadata.name":
			e.Value = "fanfare-7d4b9c-x2x7q"
		case e.ValueFrom != nil:
			t.Fatalf("this test does not know the value of %s", e.Name)
		}
		env = append(env, e.Name+"="+e.Value)
	}
	return proctest.Environment(env...)
}

// TestConfiguration: the server itself has no objection to what the chart writes for it.
func TestConfiguration(t *testing.T) {
	for _, file := range valuesFiles(t) {
		config, pod := unpack(t, file)
		cmd := exec.Command(binary, "config", "check")
		cmd.Env = environment(t, config, pod)
		if strings.HasSuffix(file, "redis-values.yaml") {
			cmd.Env = append(cmd.Env, "FANFARE_REDIS_URL=redis://:secret@redis.data:6379") // as its Secret has it
		}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok") {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// broker runs the broker that a pod's configuration names, and returns the variables by which the server finds it. The broker is one
// server.
func broker(t *testing.T, config string) (env []string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("backplane: nats")) {
		nats := newNATS(t)
		if bytes.Contains(text, []byte("natsDomain: hub")) {
			nats.replace("jetstream {", "jetstream {\n    domain: hub")
		}
		nats.Start()
		env = append(env, "FANFARE_NATS_URL=nats://"+nats.addr, "FANFARE_NATS_REPLICAS=1")
	}
	if bytes.Contains(text, []byte("backplane: redis")) || bytes.Contains(text, []byte("redisChannels")) {
		env = append(env, "FANFARE_REDIS_URL="+(&proctest.Redis{T: t}).Start().URL())
	}
	return env
}

// TestStarts starts the server as each pod does, with the broker that it wants, and asks what kubelet asks. A pod with a log has what
// dataDir is for.
func TestStarts(t *testing.T) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // as kubelet
	for _, file := range valuesFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), "-values.yaml"), func(t *testing.T) {
			config, pod := unpack(t, file)
			listeners := map[string]string{"stream": proctest.FreeAddr(t), "admin": proctest.FreeAddr(t)}
			cmd := exec.Command(binary, "--listen", listeners["stream"], "--admin", listeners["admin"])
			cmd.Env = append(environment(t, config, pod), broker(t, config)...)
			server := proctest.Start(t, cmd)
			get := func(p *core.HTTPGetAction) error {
				response, err := client.Get(strings.ToLower(string(p.Scheme)) + "://" + listeners[p.Port.String()] + p.Path)
				if err != nil {
					return err
				}
				if response.StatusCode != http.StatusOK {
					err = errors.New(p.Path + ": " + response.Status)
				}
				return errors.Join(err, response.Body.Close())
			}
			container := pod.Containers[0]
			for _, probe := range []*core.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
				server.Await("the answer to "+probe.HTTPGet.Path, func() error { return get(probe.HTTPGet) })
			}
			for _, mount := range container.VolumeMounts {
				if mount.Name != "data" {
					continue
				}
				folder := strings.TrimSuffix(config, "/etc/fanfare/config/fanfare.yaml") + mount.MountPath
				server.Await("files in "+mount.MountPath, func() error {
					files, err := os.ReadDir(folder)
					if err == nil && len(files) == 0 {
						err = errors.New("there are none")
					}
					return err
				})
			}
		})
	}
}

// TestScaledMetric: the metric that the autoscaler wants is there.
func TestScaledMetric(t *testing.T) {
	fanfare := (&proctest.Server{T: t, Binary: binary}).Start()
	text, err := render(t, chartFolder+"/ci/nats-values.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	_, metrics := fanfare.Get("/metrics")
	if name := m.scalers[0].Spec.Metrics[0].Pods.Metric.Name; !strings.Contains(metrics, "\n"+name+" ") {
		t.Errorf("the autoscaler wants %s, which /metrics does not have", name)
	}
}
