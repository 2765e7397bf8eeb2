package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// fieldCase is a field of a pod: one pod has it and one has not, and the difference is seen. Row by row it is what
// manifests/fields/FIELDS.md names as the test of a field.
type fieldCase struct {
	// script is what the container runs; what it prints is what is seen, unless see says otherwise.
	script string
	see    func(b *harness.Berth, pod string) (string, error)
	// main and pod are the field, in the container or in the pod's spec; bothMain and bothPod are in both pods: flow mappings without
	// braces, as in manifest. init is an init container of both.
	main, pod, bothMain, bothPod, init string
	// with and without are what is to be seen.
	with, without string
	// objects are other objects that the pods need.
	objects string
}

const (
	whileRunning = "exec tool sleep"
	theEnd       = "-- seen --"
)

func (c fieldCase) manifest(name string, with bool) string {
	main, spec := []string{c.bothMain}, []string{c.bothPod, "terminationGracePeriodSeconds: 0"}
	if with {
		main, spec = append(main, c.main), append(spec, c.pod)
	}
	script := c.script
	if c.see == nil && script != "" {
		script = "(" + script + ") 2>&1; echo '" + theEnd + "'; " + whileRunning
	}
	if script != "" {
		main = append([]string{shell(script)}, main...)
	}
	m := manifest{name: name, replicas: -1, main: joined(main), pod: joined(spec)}
	if c.init != "" {
		m.init = []string{c.init}
	}
	return m.String()
}

func joined(parts []string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, ", ")
}

// printed is what the pod's script has printed.
func printed(b *harness.Berth, pod string) (string, error) {
	r := b.CLI("logs", pod, "-c", "main")
	text, _, ok := strings.Cut(r.Stdout, theEnd)
	if !ok {
		return "", fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	return text, nil
}

// state is how berth status shows the pod's container.
func state(b *harness.Berth, pod string) (string, error) {
	s, err := b.Look()
	if err != nil {
		return "", err
	}
	for _, p := range s.Pods {
		if p.Name == pod {
			c := p.Container("main")
			return fmt.Sprintf("%s %s %s", p.Phase, c.State, c.Message), nil
		}
	}
	return "", fmt.Errorf("there is no pod %s", pod)
}

// limit is what stands in a file of the container's cgroup, in version 1 or 2.
func limit(v1, v2 string) func(b *harness.Berth, pod string) (string, error) {
	return func(b *harness.Berth, pod string) (string, error) {
		s, err := b.Look()
		if err != nil {
			return "", err
		}
		pods := s.PodsOf(pod)
		if len(pods) == 0 || pods[0].Container("main").PID == 0 {
			return "", fmt.Errorf("it does not run")
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pods[0].Container("main").PID))
		if err != nil {
			return "", err
		}
		controller, _, _ := strings.Cut(v1, ".")
		for line := range strings.Lines(string(groups)) {
			f := strings.SplitN(strings.TrimSpace(line), ":", 3)
			for _, file := range []string{"/sys/fs/cgroup/" + f[1] + f[2] + "/" + v1, "/sys/fs/cgroup" + f[2] + "/" + v2} {
				if text, err := os.ReadFile(file); err == nil && (f[1] == controller || f[1] == "") {
					return string(text), nil
				}
			}
		}
		return "", fmt.Errorf("no %s or %s in %s", v1, v2, groups)
	}
}

// byVersion chooses between what versions 1 and 2 of cgroups show.
func byVersion(v1, v2 string) string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return v2
	}
	return v1
}

func fieldCases() map[string]fieldCase {
	const mount = "volumeMounts: [{name: v, mountPath: /v}]"
	image := "image: " + images.Ref(images.Tool)
	status := func(fields string) string { return "grep -E '^(" + fields + "):' /proc/self/status | tr -d '\\t '" }
	return map[string]fieldCase{
		// The container.
		"workingDir":               {script: "pwd", main: "workingDir: /var/log", with: "/var/log", without: "/"},
		"env":                      {script: `echo "$A"`, main: "env: [{name: A, value: one}]", with: "one", without: ""},
		"args":                     {bothMain: image + `, command: [sh, -c, 'echo "[$*]"; echo "` + theEnd + `"; ` + whileRunning + `', sh]`, main: "args: [a, b]", with: "[a b]", without: "[]"},
		"stdin":                    {script: "timeout 1 cat 2>/dev/null && echo closed || echo open", main: "stdin: true", with: "open", without: "closed"},
		"tty":                      {script: "test -t 1 && echo terminal || echo pipe", main: "tty: true", with: "terminal", without: "pipe"},
		"imagePullPolicy":          {see: state, bothMain: "image: 127.0.0.1:1/none:1", main: "imagePullPolicy: Never", with: "Pending ErrImageNeverPull *", without: "Pending *"},
		"terminationMessagePath":   {see: state, script: "echo said > /said; exit 3", bothPod: "restartPolicy: Never", main: "terminationMessagePath: /said", with: "Failed Error said", without: "Failed Error"},
		"terminationMessagePolicy": {see: state, script: "echo logged; exit 3", bothPod: "restartPolicy: Never", main: "terminationMessagePolicy: FallbackToLogsOnError", with: "Failed Error logged", without: "Failed Error"},
		"requests[memory]":         {script: "cat /proc/self/oom_score_adj", main: "resources: {requests: {memory: 1Ki}}", with: "999", without: "1000"},
		"requests[cpu]":            {see: limit("cpu.shares", "cpu.weight"), script: "sleep 1000", main: "resources: {requests: {cpu: 500m}}", with: byVersion("512", "50"), without: "*"},
		"limits[cpu]":              {see: limit("cpu.cfs_quota_us", "cpu.max"), script: "sleep 1000", main: "resources: {limits: {cpu: 500m}}", with: "50000*", without: "*"},
		"limits[memory]":           {see: limit("memory.limit_in_bytes", "memory.max"), script: "sleep 1000", main: "resources: {limits: {memory: 32Mi}}", with: "33554432", without: "*"},

		"restartPolicy": {see: state, script: "exit 0", pod: "restartPolicy: Never", with: "Succeeded Completed", without: "Running *"},

		// Security, container before pod.
		"runAsUser":                {script: "id -u", main: "securityContext: {runAsUser: 1234}", with: "1234", without: "0"},
		"runAsGroup":               {script: "id -g", main: "securityContext: {runAsGroup: 1234}", with: "1234", without: "0"},
		"runAsNonRoot":             {see: state, script: "sleep 1000", main: "securityContext: {runAsNonRoot: true}", with: "Pending CreateContainerConfigError *", without: "Running Running"},
		"readOnlyRootFilesystem":   {script: "echo x 2>/dev/null >/x && echo writable || echo read-only", main: "securityContext: {readOnlyRootFilesystem: true}", with: "read-only", without: "writable"},
		"allowPrivilegeEscalation": {script: status("NoNewPrivs"), main: "securityContext: {allowPrivilegeEscalation: false}", with: "NoNewPrivs:1", without: "NoNewPrivs:0"},
		"capabilities.add":         {script: status("CapBnd"), main: "securityContext: {capabilities: {add: [NET_RAW]}}", with: "CapBnd:00000000000025fb", without: "CapBnd:00000000000005fb"},
		"capabilities.drop":        {script: status("CapBnd"), main: "securityContext: {capabilities: {drop: [CHOWN]}}", with: "CapBnd:00000000000005fa", without: "CapBnd:00000000000005fb"},
		"privileged":               {script: "tool syscall mknod", main: "securityContext: {privileged: true}", with: "mknod: done", without: "mknod: operation not permitted"},
		"seccompProfile":           {script: status("Seccomp"), main: "securityContext: {seccompProfile: {type: Unconfined}}", with: "Seccomp:0", without: "Seccomp:2"},
		"procMount":                {script: "grep -c ' /proc/sys ' /proc/self/mounts", bothPod: "hostUsers: false", main: "securityContext: {procMount: Unmasked}", with: "0", without: "1"},
		"pod runAsUser":            {script: "id -u", pod: "securityContext: {runAsUser: 1234}", with: "1234", without: "0"},
		"pod runAsGroup":           {script: "id -g", pod: "securityContext: {runAsGroup: 1234}", with: "1234", without: "0"},
		"pod runAsNonRoot":         {see: state, script: "sleep 1000", pod: "securityContext: {runAsNonRoot: true}", with: "Pending CreateContainerConfigError *", without: "Running Running"},
		"pod seccompProfile":       {script: status("Seccomp"), pod: "securityContext: {seccompProfile: {type: Unconfined}}", with: "Seccomp:0", without: "Seccomp:2"},
		"fsGroup":                  {script: "stat -c %g /v", bothMain: mount, bothPod: "volumes: [{name: v, emptyDir: {}}]", pod: "securityContext: {fsGroup: 1234}", with: "1234", without: "0"},
		"supplementalGroups":       {script: "id -G", pod: "securityContext: {supplementalGroups: [1234]}", with: "0 1234", without: "0"},
		"sysctls":                  {script: "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", pod: "securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '77'}]}", with: "77", without: "0"},

		// The pod.
		"hostname":              {script: "hostname", pod: "hostname: other", with: "other", without: "without-hostname"},
		"setHostnameAsFQDN":     {script: "hostname", bothPod: "subdomain: sub, hostname: h", pod: "setHostnameAsFQDN: true", with: "h.sub.default.svc.cluster.local", without: "h"},
		"hostAliases":           {script: "grep another.name /etc/hosts || echo none", pod: "hostAliases: [{ip: 10.1.2.3, hostnames: [another.name]}]", with: "10.1.2.3\tanother.name", without: "none"},
		"dnsPolicy":             {script: "grep -c . /etc/resolv.conf", bothPod: "dnsConfig: {nameservers: [10.1.2.3]}", pod: "dnsPolicy: None", with: "1", without: "*"},
		"dnsConfig.nameservers": {script: "grep 10.1.2.3 /etc/resolv.conf || echo none", bothPod: "dnsPolicy: Default", pod: "dnsConfig: {nameservers: [10.1.2.3]}", with: "nameserver 10.1.2.3", without: "none"},
		"dnsConfig.searches":    {script: "grep -o some.where /etc/resolv.conf || echo none", pod: "dnsConfig: {searches: [some.where]}", with: "some.where", without: "none"},
		"dnsConfig.options":     {script: "grep -o ndots:7 /etc/resolv.conf || echo none", pod: "dnsConfig: {options: [{name: ndots, value: '7'}]}", with: "ndots:7", without: "none"},
		"hostNetwork":           {script: "readlink /proc/self/ns/net", pod: "hostNetwork: true", with: machine("net"), without: "*"},
		"hostIPC":               {script: "readlink /proc/self/ns/ipc", pod: "hostIPC: true", with: machine("ipc"), without: "*"},
		"hostPID":               {script: "readlink /proc/self/ns/pid", pod: "hostPID: true", with: machine("pid"), without: "*"},
		"shareProcessNamespace": {script: "grep -qx sh /proc/1/comm && echo own || echo shared", pod: "shareProcessNamespace: true", with: "shared", without: "own"},
		"hostUsers":             {script: "awk '{print $3}' /proc/self/uid_map", pod: "hostUsers: false", with: "65536", without: "4294967295"},
		"schedulingGates":       {see: state, script: "sleep 1000", pod: "schedulingGates: [{name: wait}]", with: "Pending *", without: "Running Running"},
	}
}

// Each field of a pod makes a difference: one pod has it, one has not.
func TestFields(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	cases := fieldCases()
	for name, c := range cases {
		for prefix, with := range map[string]bool{"with-": true, "without-": false} {
			b.Write(prefix+podName(name)+".yaml", c.manifest(prefix+podName(name), with)+"---\n"+c.objects)
		}
	}
	b.Up()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.TB = t
			see := c.see
			if see == nil {
				see = printed
			}
			for pod, want := range map[string]string{"with-" + podName(name): c.with, "without-" + podName(name): c.without} {
				b.Until(fmt.Sprintf("%s to show %q", pod, want), func() error {
					got, err := see(&b, pod)
					got = strings.TrimSpace(got)
					if err == nil && !matches(want, got) {
						err = fmt.Errorf("it shows %q", got)
					}
					if want == c.without && matches(c.with, got) {
						t.Fatalf("%s shows what only the field can bring about: %q", pod, got)
					}
					return err
				})
			}
		})
	}
}

// matches compares; a star at the end stands for anything.
func matches(want, got string) bool {
	if start, open := strings.CutSuffix(want, "*"); open {
		return strings.HasPrefix(got, start)
	}
	return want == got
}

// machine is a namespace of the machine.
func machine(ns string) string {
	name, err := os.Readlink("/proc/self/ns/" + ns)
	if err != nil {
		return err.Error()
	}
	return name
}

func podName(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "-", ".", "-", "[", "-", "]", "").Replace(name))
}
