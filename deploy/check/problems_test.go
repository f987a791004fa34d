package check_test

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// settings are those of the server's configuration that must fit the manifests around them.
type settings struct {
	Listen        string   `json:"listen"`
	Admin         string   `json:"admin"`
	Backplane     string   `json:"backplane"`
	DataDir       string   `json:"dataDir"`
	NATSURL       string   `json:"natsURL"`
	RedisURL      string   `json:"redisURL"`
	DrainDelay    duration `json:"drainDelay"`
	DrainTimeout  duration `json:"drainTimeout"`
	TLSCert       []string `json:"tlsCert"`
	AdminTLSCert  string   `json:"adminTLSCert"`
	ProxyProtocol bool     `json:"proxyProtocol"`
}

type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	text, err := strconv.Unquote(string(b))
	if err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = duration(parsed)
	return err
}

// complaints collects problems.
type complaints struct{ list []string }

func (c *complaints) add(format string, args ...any) {
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

// problems returns what does not fit together in the objects of a chart. Each of its rules fails in TestProblems.
func problems(m *manifests) []string {
	c := &complaints{}
	if len(m.pods) != 1 {
		c.add("%d workloads", len(m.pods))
		return c.list
	}
	for name, pod := range m.pods {
		if len(pod.Spec.Containers) != 1 {
			c.add("%s: %d containers", name, len(pod.Spec.Containers))
			return c.list
		}
		s, ok := m.settings(c, pod.Spec)
		if !ok {
			return c.list
		}
		m.checkNames(c, name, pod)
		checkEnd(c, pod.Spec, s)
		checkProbes(c, pod.Spec.Containers[0], s)
		checkMemory(c, pod.Spec.Containers[0])
		checkSecurity(c, pod.Spec)
		m.checkVolumes(c, pod.Spec, s)
		m.checkEgress(c, s)
	}
	return c.list
}

// settings reads the file that the server reads, through the volume that it reads it from.
func (m *manifests) settings(c *complaints, spec core.PodSpec) (s settings, ok bool) {
	var file string
	for _, e := range spec.Containers[0].Env {
		if e.Name == "FANFARE_CONFIG" {
			file = e.Value
		}
	}
	for _, mount := range spec.Containers[0].VolumeMounts {
		rest, inside := strings.CutPrefix(file, mount.MountPath+"/")
		i := slices.IndexFunc(spec.Volumes, func(v core.Volume) bool { return v.Name == mount.Name })
		if !inside || i < 0 || spec.Volumes[i].ConfigMap == nil {
			continue
		}
		text, there := m.configs[spec.Volumes[i].ConfigMap.Name].Data[rest]
		if there {
			if err := yaml.Unmarshal([]byte(text), &s); err != nil {
				c.add("%s: %v", file, err)
				return s, false
			}
			return s, true
		}
	}
	c.add("no ConfigMap is mounted that has %q (FANFARE_CONFIG)", file)
	return s, false
}

// checkNames checks what refers to something by a name: selectors, ports, targets.
func (m *manifests) checkNames(c *complaints, workload string, pod core.PodTemplateSpec) {
	ports := map[string]bool{}
	for _, p := range pod.Spec.Containers[0].Ports {
		ports[p.Name] = true
	}
	selects := func(what string, selector, labels map[string]string) {
		for key, value := range selector {
			if labels[key] != value {
				c.add("%s selects %s=%s, and the labels have %q", what, key, value, labels[key])
			}
		}
		if len(selector) == 0 {
			c.add("%s selects everything", what)
		}
	}
	selects(workload, m.podSelector, pod.Labels)
	for _, s := range m.services {
		selects("Service/"+s.Name, s.Spec.Selector, pod.Labels)
		for _, p := range s.Spec.Ports {
			if !ports[p.TargetPort.String()] {
				c.add("Service/%s: the container has no port %q", s.Name, p.TargetPort.String())
			}
		}
	}
	for _, s := range m.stateful {
		if i := slices.IndexFunc(m.services, func(service core.Service) bool { return service.Name == s.Spec.ServiceName }); i < 0 || m.services[i].Spec.ClusterIP != core.ClusterIPNone {
			c.add("StatefulSet/%s: there is no headless Service %q", s.Name, s.Spec.ServiceName)
		}
	}
	for _, b := range m.budgets {
		selects("PodDisruptionBudget/"+b.Name, b.Spec.Selector.MatchLabels, pod.Labels)
	}
	for _, h := range m.scalers {
		if target := h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name; target != workload {
			c.add("HorizontalPodAutoscaler/%s scales %s, and the workload is %s", h.Name, target, workload)
		}
		if h.Spec.MinReplicas == nil || *h.Spec.MinReplicas > h.Spec.MaxReplicas {
			c.add("HorizontalPodAutoscaler/%s: at least %v pods, at most %d", h.Name, h.Spec.MinReplicas, h.Spec.MaxReplicas)
		}
	}
	for _, p := range m.policies {
		selects("NetworkPolicy/"+p.Name, p.Spec.PodSelector.MatchLabels, pod.Labels)
		reached := map[string]bool{}
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				reached[port.Port.String()] = true
				if !ports[port.Port.String()] {
					c.add("NetworkPolicy/%s: the container has no port %q", p.Name, port.Port)
				}
			}
		}
		for port := range ports {
			if !reached[port] {
				c.add("NetworkPolicy/%s closes port %s", p.Name, port)
			}
		}
	}
	for _, mon := range m.monitors {
		var found []core.Service
		for _, s := range m.services {
			matches := true
			for key, value := range mon.Spec.Selector.MatchLabels {
				matches = matches && s.Labels[key] == value
			}
			if matches {
				found = append(found, s)
			}
		}
		if len(found) != 1 {
			c.add("ServiceMonitor/%s selects %d Services", mon.Name, len(found))
			continue
		}
		for _, e := range mon.Spec.Endpoints {
			if !slices.ContainsFunc(found[0].Spec.Ports, func(p core.ServicePort) bool { return p.Name == e.Port }) {
				c.add("ServiceMonitor/%s: Service/%s has no port %q", mon.Name, found[0].Name, e.Port)
			}
		}
	}
}

// checkEnd checks that a pod can end its streams before it is killed.
func checkEnd(c *complaints, spec core.PodSpec, s settings) {
	var preStop time.Duration
	if l := spec.Containers[0].Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		preStop = time.Duration(l.PreStop.Sleep.Seconds) * time.Second
	}
	drain := preStop + time.Duration(s.DrainDelay) + time.Duration(s.DrainTimeout)
	var grace time.Duration
	if spec.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
	}
	if grace < drain+5*time.Second {
		c.add("the grace period (%s) is not 5 s longer than preStop + drainDelay + drainTimeout (%s)", grace, drain)
	}
	if ready := spec.Containers[0].ReadinessProbe; ready != nil {
		if notices := time.Duration(ready.PeriodSeconds*ready.FailureThreshold) * time.Second; notices >= time.Duration(s.DrainDelay) {
			c.add("drainDelay (%s) is not longer than the readiness probe needs to fail (%s)", time.Duration(s.DrainDelay), notices)
		}
	}
}

// checkProbes checks that the probes ask what the server listens on.
func checkProbes(c *complaints, container core.Container, s settings) {
	listens := map[string]string{"stream": s.Listen, "admin": s.Admin}
	for _, p := range container.Ports {
		if want := fmt.Sprintf(":%d", p.ContainerPort); listens[p.Name] != want {
			c.add("port %s is %s, and the server listens on %q", p.Name, want, listens[p.Name])
		}
	}
	for name, probe := range map[string]*core.Probe{"startup": container.StartupProbe, "readiness": container.ReadinessProbe, "liveness": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil {
			c.add("there is no %s probe by HTTP", name)
			continue
		}
		port, scheme := probe.HTTPGet.Port.String(), core.URISchemeHTTP
		if _, known := listens[port]; !known {
			c.add("the %s probe asks port %q, which does not exist", name, port)
		}
		if port == "stream" && len(s.TLSCert) > 0 || port == "admin" && s.AdminTLSCert != "" {
			scheme = core.URISchemeHTTPS
		}
		if probe.HTTPGet.Scheme != scheme {
			c.add("the %s probe speaks %s, and the listener %s", name, probe.HTTPGet.Scheme, scheme)
		}
		if port == "stream" && s.ProxyProtocol {
			c.add("the %s probe asks the stream listener, which waits for a PROXY header (proxyProtocol)", name)
		}
		if want := map[bool]string{true: "/healthz", false: "/readyz"}[name == "liveness"]; probe.HTTPGet.Path != want {
			c.add("the %s probe asks for %s, not %s", name, probe.HTTPGet.Path, want)
		}
	}
}

// checkMemory checks that Go's collector works harder before the kernel kills the process.
func checkMemory(c *complaints, container core.Container) {
	limit, there := container.Resources.Limits[core.ResourceMemory]
	if !there {
		c.add("there is no limit of memory")
		return
	}
	var goLimit string
	for _, e := range container.Env {
		if e.Name == "GOMEMLIMIT" {
			goLimit = e.Value
		}
	}
	parsed, err := resource.ParseQuantity(strings.TrimSuffix(goLimit, "B")) // 1400MiB is 1400Mi to Kubernetes
	if err != nil || parsed.Value() > limit.Value()*8/10 {
		c.add("GOMEMLIMIT (%q) is above 80 %% of the limit of memory (%s)", goLimit, limit.String())
	}
}

// checkSecurity checks what the "restricted" Pod Security Standard asks for, and more.
func checkSecurity(c *complaints, spec core.PodSpec) {
	container := spec.Containers[0]
	p, s := spec.SecurityContext, container.SecurityContext
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	for rule, kept := range map[string]bool{
		"runs as root":                         p != nil && is(p.RunAsNonRoot, true) && p.RunAsUser != nil && *p.RunAsUser > 0,
		"has no seccomp profile":               p != nil && p.SeccompProfile != nil && p.SeccompProfile.Type == core.SeccompProfileTypeRuntimeDefault,
		"may gain privileges":                  s != nil && is(s.AllowPrivilegeEscalation, false),
		"has a writable root":                  s != nil && is(s.ReadOnlyRootFilesystem, true),
		"has capabilities":                     s != nil && s.Capabilities != nil && slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) && len(s.Capabilities.Add) == 0,
		"has a service account's token":        is(spec.AutomountServiceAccountToken, false),
		"gets variables of Services":           is(spec.EnableServiceLinks, false),
		"shares namespaces or ports of a host": !spec.HostNetwork && !spec.HostPID && !spec.HostIPC,
	} {
		if !kept {
			c.add("the pod %s", rule)
		}
	}
}

// checkVolumes checks that each mount has its volume, and each file of the configuration a mount.
func (m *manifests) checkVolumes(c *complaints, spec core.PodSpec, s settings) {
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
		if v.PersistentVolumeClaim != nil {
			c.add("all pods share volume %s", v.Name)
		}
		if v.Secret != nil && (v.Secret.DefaultMode == nil || *v.Secret.DefaultMode&0o007 != 0) {
			c.add("volume %s: everybody may read the Secret", v.Name)
		}
	}
	writable := false
	for _, set := range m.stateful {
		for _, claim := range set.Spec.VolumeClaimTemplates {
			volumes[claim.Name] = true
		}
	}
	mounted := map[string]bool{}
	for _, mount := range spec.Containers[0].VolumeMounts {
		mounted[mount.Name] = true
		if !volumes[mount.Name] {
			c.add("there is no volume %q", mount.Name)
		}
		writable = writable || !mount.ReadOnly && mount.MountPath == s.DataDir
	}
	for name := range volumes {
		if !mounted[name] {
			c.add("volume %s is not mounted", name)
		}
	}
	if s.Backplane != "off" && !writable {
		c.add("dataDir %q is not a writable volume", s.DataDir)
	}
	for _, from := range spec.Containers[0].EnvFrom {
		if _, there := m.secrets[from.SecretRef.Name]; !there && len(m.secrets) > 0 {
			c.add("the variables come from Secret %q, and the chart makes another", from.SecretRef.Name)
		}
	}
}

// checkEgress checks that the network policy lets the server reach its broker.
func (m *manifests) checkEgress(c *complaints, s settings) {
	for address := range strings.SplitSeq(s.NATSURL+","+s.RedisURL, ",") {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		if err != nil {
			c.add("%v", err)
			continue
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"nats": "4222", "tls": "4222", "redis": "6379", "rediss": "6379"}[u.Scheme]
		}
		for _, p := range m.policies {
			if !slices.ContainsFunc(p.Spec.Egress, func(rule networking.NetworkPolicyEgressRule) bool {
				return slices.ContainsFunc(rule.Ports, func(open networking.NetworkPolicyPort) bool { return open.Port.String() == port })
			}) {
				c.add("NetworkPolicy/%s does not let the server reach %s (port %s)", p.Name, u.Host, port)
			}
		}
	}
}
