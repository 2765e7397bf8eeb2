package e2e

import (
	"fmt"
	"os"
	"path/filepath"
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
	// main, pod and meta are the field, in the container, in the pod's spec or in its metadata; instead and podInstead stand in
	// the pod without it. bothMain, bothPod and bothMeta are in both pods. All are flow mappings without braces, as in manifest.
	main, pod, meta, instead, podInstead, bothMain, bothPod, bothMeta string
	// init and more are an init container and a further container of both.
	init, more string
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
	main, spec, meta := []string{c.bothMain}, []string{c.bothPod, "terminationGracePeriodSeconds: 0"}, []string{c.bothMeta}
	if with {
		main, spec, meta = append(main, c.main), append(spec, c.pod), append(meta, c.meta)
	} else {
		main, spec = append(main, c.instead), append(spec, c.podInstead)
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
	if c.more != "" {
		m.more = []string{c.more}
	}
	return strings.Replace(m.String(), "labels: {app: "+name+"}", joined(meta), 1)
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
	if r.Code != 0 {
		r = b.CLI("logs", pod, "-c", "main", "-n", "other")
	}
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

// restarted tells a container that was started anew from one that was not.
func restarted(b *harness.Berth, pod string) (string, error) {
	s, err := b.Look()
	for _, p := range s.Pods {
		if p.Name == pod && p.Container("main").Restarts > 0 {
			return "restarted", err
		}
	}
	return state(b, pod)
}

// field is an environment with a field of the pod as A, resource one with a limit.
func field(path string) string {
	return fmt.Sprintf("env: [{name: A, valueFrom: {fieldRef: {fieldPath: %q}}}]", path)
}

func resource(ref string) string {
	return "env: [{name: A, valueFrom: {resourceFieldRef: {" + ref + "}}}]"
}

// byVersion chooses between what versions 1 and 2 of cgroups show.
func byVersion(v1, v2 string) string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return v2
	}
	return v1
}

func fieldCases() map[string]fieldCase {
	const mount, dir = "volumeMounts: [{name: v, mountPath: /v}]", "volumes: [{name: v, emptyDir: {}}]"
	host := func(kind string) string { return "volumes: [{name: v, hostPath: {path: /etc, type: " + kind + "}}]" }
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

		"restartPolicy": {see: restarted, script: "exit 0", pod: "restartPolicy: Never", with: "Succeeded Completed", without: "restarted"},

		"restartPolicyRules": {
			see: restarted, script: "exit 42", bothPod: "restartPolicy: Never", bothMain: "restartPolicy: Never",
			main: "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]", with: "restarted", without: "Failed Error",
		},
		"restartPolicyRules.operator": {
			see: restarted, script: "exit 42", bothPod: "restartPolicy: Never", bothMain: "restartPolicy: Never",
			main:    "restartPolicyRules: [{action: Restart, exitCodes: {operator: NotIn, values: [1]}}]",
			instead: "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]", with: "restarted", without: "Failed Error",
		},

		// Where variables come from.
		"expansion":          {script: `echo "$B"`, main: "env: [{name: A, value: one}, {name: B, value: $(A) $(C) $$(A)}]", with: "one $(C) $(A)", without: ""},
		"fieldRef":           {script: `echo "$A"`, main: field("metadata.name"), with: "with-fieldref", without: ""},
		"namespace":          {script: `echo "$A"`, bothMain: field("metadata.namespace"), meta: "namespace: other", with: "other", without: "default"},
		"labels":             {script: `echo "$A"`, bothMain: field("metadata.labels['x']"), meta: "labels: {x: set}", with: "set", without: ""},
		"annotations":        {script: `echo "$A"`, bothMain: field("metadata.annotations['x']"), meta: "annotations: {x: set}", with: "set", without: ""},
		"serviceAccountName": {script: `echo "$A"`, bothMain: field("spec.serviceAccountName"), pod: "serviceAccountName: robot", with: "robot", without: "default"},
		"resourceFieldRef":   {script: `echo "$A"`, bothMain: "resources: {limits: {memory: 32Mi}}", main: resource("resource: limits.memory"), with: "33554432", without: ""},
		"resourceFieldRef.divisor": {
			script: `echo "$A"`, bothMain: "resources: {limits: {memory: 32Mi}}",
			main: resource("resource: limits.memory, divisor: 1Mi"), instead: resource("resource: limits.memory"), with: "32", without: "33554432",
		},
		"resourceFieldRef.containerName": {
			script: `echo "$A"`, bothMain: "resources: {limits: {memory: 32Mi}}", more: "{name: other, " + run("sleep") + ", resources: {limits: {memory: 64Mi}}}",
			main: resource("resource: limits.memory, containerName: other"), instead: resource("resource: limits.memory"), with: "67108864", without: "33554432",
		},

		// Files.
		"mountPath":    {script: "grep -c ' /v ' /proc/self/mounts", bothPod: dir, main: mount, with: "1", without: "0"},
		"volumeMounts": {script: "grep -c ' /v ' /proc/self/mounts", bothPod: dir, main: mount, with: "1", without: "0"},
		"medium":       {script: "stat -fc %T /v", bothMain: mount, pod: "volumes: [{name: v, emptyDir: {medium: Memory}}]", podInstead: dir, with: "tmpfs", without: "*"},
		"sizeLimit":    {script: "df -k /v | awk 'END {print $2}'", bothMain: mount, pod: "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]", podInstead: "volumes: [{name: v, emptyDir: {medium: Memory}}]", with: "1024", without: "*"},
		"readOnly":     {script: "echo x 2>/dev/null >/v/x && echo writable || echo read-only", bothPod: dir, main: "volumeMounts: [{name: v, mountPath: /v, readOnly: true}]", instead: mount, with: "read-only", without: "writable"},
		"subPath":      {script: "ls /v /w", bothPod: dir, main: "volumeMounts: [{name: v, mountPath: /w}, {name: v, mountPath: /v, subPath: deep}]", instead: "volumeMounts: [{name: v, mountPath: /w}, {name: v, mountPath: /v}]", with: "/v:\n\n/w:\ndeep", without: "/v:\n\n/w:"},
		"image": {
			script: "ls -d /v/bin/tool; touch /v/x 2>/dev/null && echo writable || echo read-only", bothMain: mount,
			pod: "volumes: [{name: v, image: {reference: " + images.Ref(images.Tool) + "}}]", podInstead: dir,
			with: "/v/bin/tool\nread-only", without: "ls: /v/bin/tool: No such file or directory\nwritable",
		},
		"image for a user namespace": {
			script: "stat -c %u /v/bin/tool; ls -d /w/tool", bothMain: "volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /w, subPath: bin}]",
			pod: "hostUsers: false, volumes: [{name: v, image: {reference: " + images.Ref(images.Tool) + "}}]", podInstead: dir,
			with: "0\n/w/tool", without: "*",
		},
		"image.pullPolicy": {
			see: state, script: "exec tool sleep", pod: "volumes: [{name: v, image: {reference: '127.0.0.1:1/none:1', pullPolicy: Never}}]",
			podInstead: "volumes: [{name: v, image: {reference: '127.0.0.1:1/none:1'}}]", with: "Pending ErrImageNeverPull*", without: "Pending *",
		},
		"subPathExpr":   {script: "ls /w", bothPod: dir, main: field("metadata.namespace") + ", volumeMounts: [{name: v, mountPath: /w}, {name: v, mountPath: /v, subPathExpr: in-$(A)}]", with: "in-default", without: "*"},
		"hostPath":      {script: "test -e /v/passwd && echo the machine || echo empty", bothMain: mount, pod: host("Directory"), podInstead: dir, with: "the machine", without: "empty"},
		"hostPath.type": {see: state, script: "sleep 1000", bothMain: mount, pod: host("File"), podInstead: host("Directory"), with: "Pending *", without: "Running Running"},

		// Security, container before pod.
		"runAsUser":                {script: "id -u", main: "securityContext: {runAsUser: 1234}", with: "1234", without: "0"},
		"runAsGroup":               {script: "id -g", main: "securityContext: {runAsGroup: 1234}", with: "1234", without: "0"},
		"runAsNonRoot":             {see: state, script: "sleep 1000", main: "securityContext: {runAsNonRoot: true}", with: "Pending CreateContainerConfigError *", without: "Running Running"},
		"readOnlyRootFilesystem":   {script: "echo x 2>/dev/null >/x && echo writable || echo read-only", main: "securityContext: {readOnlyRootFilesystem: true}", with: "read-only", without: "writable"},
		"allowPrivilegeEscalation": {script: status("NoNewPrivs"), main: "securityContext: {allowPrivilegeEscalation: false}", with: "NoNewPrivs:1", without: "NoNewPrivs:0"},
		"capabilities.add":         {script: status("CapBnd"), main: "securityContext: {capabilities: {add: [NET_RAW]}}", with: "CapBnd:00000000000425fb", without: "CapBnd:00000000000405fb"},
		"capabilities.drop":        {script: status("CapBnd"), main: "securityContext: {capabilities: {drop: [CHOWN]}}", with: "CapBnd:00000000000405fa", without: "CapBnd:00000000000405fb"},
		"privileged":               {script: "tool syscall mknod", main: "securityContext: {privileged: true}", with: "mknod: done", without: "mknod: operation not permitted"},
		"seccompProfile":           {script: status("Seccomp"), main: "securityContext: {seccompProfile: {type: Unconfined}}", with: "Seccomp:0", without: "Seccomp:2"},
		"localhostProfile": {
			script: "mkdir /new 2>/dev/null && echo made || echo denied", with: "denied", without: "made",
			main: "securityContext: {seccompProfile: {type: Localhost, localhostProfile: no-mkdir.json}}",
		},
		"procMount":          {script: "grep -c ' /proc/sys ' /proc/self/mounts", bothPod: "hostUsers: false", main: "securityContext: {procMount: Unmasked}", with: "0", without: "1"},
		"pod runAsUser":      {script: "id -u", pod: "securityContext: {runAsUser: 1234}", with: "1234", without: "0"},
		"pod runAsGroup":     {script: "id -g", pod: "securityContext: {runAsGroup: 1234}", with: "1234", without: "0"},
		"pod runAsNonRoot":   {see: state, script: "sleep 1000", pod: "securityContext: {runAsNonRoot: true}", with: "Pending CreateContainerConfigError *", without: "Running Running"},
		"pod seccompProfile": {script: status("Seccomp"), pod: "securityContext: {seccompProfile: {type: Unconfined}}", with: "Seccomp:0", without: "Seccomp:2"},
		"fsGroup":            {script: "stat -c %g /v", bothMain: mount, bothPod: dir, pod: "securityContext: {fsGroup: 1234}", with: "1234", without: "0"},
		"supplementalGroups": {script: "id -G", pod: "securityContext: {supplementalGroups: [1234]}", with: "0 1234", without: "0"},
		"sysctls":            {script: "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", pod: "securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '77'}]}", with: "77", without: "0"},

		// The pod.
		"hostname":              {script: "hostname", pod: "hostname: other", with: "other", without: "without-hostname"},
		"hostnameOverride":      {script: "hostname", pod: "hostnameOverride: a.name.of.its.own", with: "a.name.of.its.own", without: "without-hostnameoverride"},
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
func TestFields(t *testing.T) { showFields(t, fieldCases()) }

// showFields runs both pods of all cases at once, beside objects that all of them may use.
func showFields(t *testing.T, cases map[string]fieldCase, objects ...string) {
	t.Helper()
	b := harness.New(t)
	b.Load(images.Tool)
	writeProfile(b, "no-mkdir.json", `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}`)
	for i, o := range objects {
		b.Write(fmt.Sprintf("objects-%d.yaml", i), o)
	}
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

// writeProfile puts a seccomp profile where Localhost profiles are looked for.
func writeProfile(b *harness.Berth, name, text string) {
	b.Helper()
	dir := filepath.Join(b.State, "seccomp")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatalf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		b.Fatalf("%v", err)
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
