package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// object is a ConfigMap or a Secret with these fields, a flow mapping without braces.
func object(kind, name, fields string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: %s\nmetadata: {name: %s}\n%s\n", kind, name, fields)
}

// inside runs a script in a pod's container.
func inside(b *harness.Berth, pod, script string) string {
	b.Helper()
	return b.Must("exec", pod, "-c", "main", "--", "sh", "-c", script)
}

func want(t *testing.T, what, want, got string) {
	t.Helper()
	if want != got {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// What a pod gets from ConfigMaps, Secrets and its own fields, as its programs see it.
func TestConfigSeenFromInside(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	seen := manifest{
		name: "seen", replicas: -1,
		main: run("sleep") + `, resources: {limits: {memory: 64Mi, cpu: 1500m}}, volumeMounts: [
			{name: conf, mountPath: /conf}, {name: conf, mountPath: /one.txt, subPath: text}, {name: key, mountPath: /key}, {name: all, mountPath: /all},
			{name: self, mountPath: /self}, {name: maybe, mountPath: /maybe}, {name: scratch, mountPath: /conf/sub/scratch}],
			envFrom: [{configMapRef: {name: conf}}, {prefix: S_, secretRef: {name: key}}, {configMapRef: {name: none, optional: true}}],
			env: [{name: A, valueFrom: {configMapKeyRef: {name: conf, key: text}}}, {name: B, valueFrom: {secretKeyRef: {name: key, key: plain}}},
				{name: C, value: "$(A)+$(B)+$$(A)+$(NONE)+$(other.key)"}, {name: other.key, value: replaced},
				{name: GONE, valueFrom: {configMapKeyRef: {name: conf, key: none, optional: true}}},
				{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}},
				{name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}},
				{name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}]`,
		pod: `securityContext: {fsGroup: 3000, runAsUser: 1000}, volumes: [
			{name: conf, configMap: {name: conf}}, {name: scratch, emptyDir: {}},
			{name: key, secret: {secretName: key, defaultMode: 0400, items: [{key: plain, path: deep/plain}, {key: coded, path: coded, mode: 0604}]}},
			{name: self, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: mem, resourceFieldRef: {containerName: main, resource: limits.memory}}]}},
			{name: maybe, configMap: {name: none, optional: true}},
			{name: all, projected: {defaultMode: 0440, sources: [{configMap: {name: conf, items: [{key: text, path: text, mode: 0404}]}},
				{secret: {name: key, items: [{key: plain, path: in/plain}]}}, {downwardAPI: {items: [{path: ns, fieldRef: {fieldPath: metadata.namespace}}]}}]}}]`,
	}.String()
	in := func(tier string) string {
		return strings.Replace(seen, "labels: {app: seen}", "labels: {app: seen, tier: "+tier+"}", 1)
	}
	b.Write("a-pod.yaml", in("front"))
	b.Write("b-conf.yaml", object("ConfigMap", "conf", `data: {text: "words", other.key: ""}`+"\nbinaryData: {bytes: //79AA==}"))
	b.Write("c-key.yaml", object("Secret", "key", `data: {coded: aHVudGVyMg==, plain: aGlkZGVu}`+"\nstringData: {plain: swordfish}"))
	b.Up()
	p := b.UntilPod("seen", "to run", running)
	want(t, "the environment", `A=words
B=swordfish
C=words+swordfish+$(A)+$(NONE)+
CPU=2
IP=`+p.IP+`
MEM=64
NAME=seen
S_coded=hunter2
S_plain=swordfish
TIER=front
other.key=replaced
text=words
`, inside(b, "seen", `tr '\0' '\n' < /proc/1/environ | grep -E '^(A|B|C|CPU|GONE|IP|MEM|NAME|TIER|other.key|text|bytes|S_.*)=' | LC_ALL=C sort`))
	want(t, "the files", `440 0:3000 /all/in/plain swordfish
440 0:3000 /all/ns default
444 0:3000 /all/text words
644 0:3000 /conf/other.key 
644 0:3000 /conf/text words
440 0:3000 /key/deep/plain swordfish
644 0:3000 /key/coded hunter2
644 0:3000 /self/labels app="seen"
tier="front"
644 0:3000 /self/mem 67108864
644 0:3000 /one.txt words
`, inside(b, "seen", `for f in /all/in/* /all/ns /all/text /conf/other.key /conf/text /key/deep/plain /key/coded /self/* /one.txt; do stat -L -c '%a %u:%g %n' $f | tr '\n' ' '; cat $f; echo; done`))
	want(t, "bytes, what is optional, and what is mounted inside", "fffefd00\n0\nok\n",
		inside(b, "seen", `od -An -tx1 /conf/bytes | tr -d ' '; ls /maybe | wc -l; echo ok > /conf/sub/scratch/f; cat /conf/sub/scratch/f`))
	if r := b.CLI("exec", "seen", "--", "sh", "-c", "echo x > /conf/text || echo x > /conf/new || rm /conf/text"); r.Code == 0 {
		t.Error("a ConfigMap was written to")
	}

	// The pod's labels change; the pod goes on, and its files follow.
	b.Write("a-pod.yaml", in("back"))
	b.Until("the labels to be the new ones", func() error {
		if got := inside(b, "seen", "cat /self/labels"); got != "app=\"seen\"\ntier=\"back\"" {
			return fmt.Errorf("they are %q", got)
		}
		return nil
	})
	if now := b.UntilPod("seen", "to run", running); now.UID != p.UID || now.Container("main").PID != p.Container("main").PID {
		t.Errorf("another pod runs: %+v, was %+v", now, p)
	}
}

// Pods whose configuration is not there say what they wait for, and start when it comes.
func TestWaitsForConfiguration(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	env := func(from string) string { return run("sleep") + ", env: [{name: V, valueFrom: {" + from + "}}]" }
	mount := func(name, source string) string {
		return manifest{name: name, replicas: -1, main: run("sleep") + ", volumeMounts: [{name: v, mountPath: /v}]", pod: "volumes: [{name: v, " + source + "}]"}.String()
	}
	b.Write("pods.yaml", strings.Join([]string{
		pod("env-map", env("configMapKeyRef: {name: conf, key: a}")).String(), pod("env-key", env("secretKeyRef: {name: key, key: a}")).String(),
		pod("env-all", run("sleep")+", envFrom: [{configMapRef: {name: conf}}]").String(),
		mount("vol-map", "configMap: {name: conf}"), mount("vol-key", "secret: {secretName: key, items: [{key: a, path: x}]}"),
		mount("vol-all", "projected: {sources: [{secret: {name: key}}]}"),
	}, "---\n"))
	b.Up()
	waiting := func(reasons map[string]string) {
		t.Helper()
		b.UntilStatus("the pods to say what they wait for", func(s harness.Status) error {
			for _, p := range s.Pods {
				c := p.Container("main")
				if got := c.State + ": " + c.Message; got != reasons[p.Name] && (reasons[p.Name] != "" || c.State != "Running") {
					return fmt.Errorf("%s: %s, want %s", p.Name, got, reasons[p.Name])
				}
			}
			return nil
		})
	}
	const config, mounting = "CreateContainerConfigError: ", `ContainerCreating: MountVolume.SetUp failed for volume "v" : `
	waiting(map[string]string{
		"env-map": config + `configmap "conf" not found`, "env-all": config + `configmap "conf" not found`, "vol-map": mounting + `configmap "conf" not found`,
		"env-key": config + `secret "key" not found`, "vol-key": mounting + `secret "key" not found`, "vol-all": mounting + `secret "key" not found`,
	})
	if status := b.Must("status", "-o", "json"); strings.Count(status, `"FailedMount"`) != 3 {
		t.Errorf("events do not tell of three failed mounts: %s", status)
	}
	b.Write("some.yaml", object("ConfigMap", "conf", "data: {b: x}")+"---\n"+object("Secret", "key", "stringData: {b: x}"))
	waiting(map[string]string{
		"env-map": config + "couldn't find key a in ConfigMap default/conf", "env-key": config + "couldn't find key a in Secret default/key",
		"vol-key": mounting + "secret references non-existent secret key: a",
	})
	b.Write("some.yaml", object("ConfigMap", "conf", "data: {a: x}")+"---\n"+object("Secret", "key", "stringData: {a: x}"))
	began := time.Now()
	waiting(nil)
	if took := time.Since(began); took > 9*time.Second { // a back-off is 10 s and more
		t.Errorf("it took %v: the back-off was not cut short", took)
	}
}

// nginx serves what a ConfigMap says. A change rolls out; switched off, it changes the files under the running processes.
func TestNginxFromConfigMap(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Nginx)
	site := func(text string) string {
		return object("ConfigMap", "site", fmt.Sprintf("data: {index.html: %q, default.conf: %q}", text,
			"user www-data; worker_processes 1; pid /run/nginx.pid; events {} http { server { listen 80; location / { root /site; } } }"))
	}
	web := manifest{
		name: "web", replicas: 2,
		main: fmt.Sprintf("image: %q, volumeMounts: [{name: site, mountPath: /site}, {name: site, mountPath: /etc/nginx/nginx.conf, subPath: default.conf}]", images.Ref(images.Nginx)),
		pod:  "volumes: [{name: site, configMap: {name: site}}]",
	}.String()
	b.Write("web.yaml", web)
	b.Write("site.yaml", site("first"))
	b.Up()
	serve := func(text string) func(pods []harness.Pod) error {
		return func(pods []harness.Pod) error {
			for _, p := range pods {
				if body, err := fetch("http://" + p.IP + "/"); err != nil || body != text {
					return fmt.Errorf("%s says %q, %v", p.Name, body, err)
				}
			}
			return nil
		}
	}
	pods := b.UntilReady("web", 2)
	b.Until("nginx to serve", func() error { return serve("first")(pods) })

	b.Write("site.yaml", site("second"))
	var next []harness.Pod
	b.UntilStatus("two other pods", func(s harness.Status) error {
		next = s.PodsOf("web")
		for _, p := range next {
			if !p.Ready || p.UID == pods[0].UID || p.UID == pods[1].UID {
				return fmt.Errorf("%s is there, ready: %t", p.Name, p.Ready)
			}
		}
		return serve("second")(next)
	})

	b.Write("web.yaml", strings.Replace(web, "{name: web}", `{name: web, annotations: {berth.dev/rollout-on-config: "false"}}`, 1))
	b.Write("site.yaml", site("third"))
	b.Until("the same processes to serve the third page", func() error { return serve("third")(next) })
	if now := b.UntilReady("web", 2); !maps.Equal(harness.PIDs(next), harness.PIDs(now)) {
		t.Errorf("pids %v, were %v", harness.PIDs(now), harness.PIDs(next))
	}
}

// A StatefulSet and a DaemonSet follow the Secret they use: another one replaces each pod by one of its name or its place.
func TestConfigRollsOutSets(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	const head = "apiVersion: apps/v1\nkind: %s\nmetadata: {name: %s}\nspec:\n  selector: {matchLabels: {app: %[2]s}}\n"
	template := "  template: {metadata: {labels: {app: %s}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, " +
		run("sleep") + ", env: [{name: V, valueFrom: {secretKeyRef: {name: key, key: used}}}]}]}}\n"
	key := func(used, other string) string {
		return object("Secret", "key", fmt.Sprintf("stringData: {used: %s, other: %s}", used, other))
	}
	b.Write("sts.yaml", fmt.Sprintf(head, "StatefulSet", "db")+"  serviceName: db\n  replicas: 2\n"+fmt.Sprintf(template, "db"))
	b.Write("ds.yaml", fmt.Sprintf(head, "DaemonSet", "agent")+fmt.Sprintf(template, "agent"))
	b.Write("key.yaml", key("old", "x"))
	b.Up()
	first := append(b.UntilReady("db-", 2), b.UntilReady("agent-", 1)...)
	value := func(p harness.Pod) string {
		return b.CLI("exec", p.Name, "--", "sh", "-c", "echo $V").Stdout
	}
	b.Write("key.yaml", key("new", "x"))
	second := func(prefix string, n int) []harness.Pod {
		var pods []harness.Pod
		b.UntilStatus("other pods of "+prefix, func(s harness.Status) error {
			pods = s.PodsOf(prefix)
			for _, p := range pods {
				if !p.Ready || slices.ContainsFunc(first, func(o harness.Pod) bool { return o.UID == p.UID }) || value(p) != "new\n" {
					return fmt.Errorf("%s is there, ready: %t, with %q", p.Name, p.Ready, value(p))
				}
			}
			if len(pods) != n {
				return fmt.Errorf("%d pods", len(pods))
			}
			return nil
		})
		return pods
	}
	now := append(second("db-", 2), second("agent-", 1)...)
	// A key that nobody uses says nothing.
	b.Write("key.yaml", key("new", "y"))
	b.For(time.Second, "the pods to stay", func() error {
		s, err := b.Look()
		for _, p := range now {
			if !slices.ContainsFunc(s.Pods, func(o harness.Pod) bool { return o.UID == p.UID && o.Ready }) {
				err = fmt.Errorf("%s is gone", p.Name)
			}
		}
		return err
	})
}

// A change of an immutable ConfigMap is a fault of its file, and changes nothing.
func TestImmutableConfig(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("pod.yaml", manifest{
		name: "one", replicas: -1, main: run("sleep") + ", volumeMounts: [{name: v, mountPath: /v}]", pod: "volumes: [{name: v, configMap: {name: conf}}]",
	}.String())
	b.Write("conf.yaml", "# a comment\n"+object("ConfigMap", "conf", "immutable: true\ndata: {a: old}"))
	b.Up()
	b.UntilPod("one", "to run", running)
	b.Write("conf.yaml", "# a comment\n"+object("ConfigMap", "conf", "immutable: true\ndata: {a: new}"))
	b.UntilStatus("a fault", func(s harness.Status) error {
		for _, f := range s.Faults {
			if strings.HasSuffix(f.File, "conf.yaml") && f.Line == 2 && f.Field == "data" && f.Severity == "error" {
				return nil
			}
		}
		return fmt.Errorf("faults %+v", s.Faults)
	})
	if got := inside(b, "one", "cat /v/a"); got != "old" {
		t.Errorf("the file is %q", got)
	}
}

// The data of Secrets is nowhere where others than root and the pod can read it, and in nothing that is printed.
func TestSecretsStaySecret(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	const secret = "correct-horse-battery"
	b.Write("pod.yaml", manifest{
		name: "one", replicas: -1, pod: "volumes: [{name: v, secret: {secretName: key}}]",
		main: run("sleep") + ", volumeMounts: [{name: v, mountPath: /v}], env: [{name: V, valueFrom: {secretKeyRef: {name: key, key: a}}}, {name: W, value: $(V)}]",
	}.String())
	b.Write("broken.yaml", manifest{
		name: "broken", replicas: -1, main: fmt.Sprintf("image: %q, command: [/none], env: [{name: V, valueFrom: {secretKeyRef: {name: key, key: a}}}]", images.Ref(images.Tool)),
	}.String())
	if err := os.Chmod(b.Manifests, 0o700); err != nil {
		t.Fatal(err)
	}
	b.Write("key.yaml", object("Secret", "key", "stringData: {a: "+secret+"}"))
	up := b.Up()
	b.UntilPod("one", "to run", running)
	b.Write("key.yaml", object("Secret", "key", "stringData: {a: "+secret+", b: "+secret+"}"))
	b.Until("the volume to have the new key", func() error {
		if r := b.CLI("exec", "one", "--", "cat", "/v/b"); r.Stdout != secret {
			return fmt.Errorf("it has not: %q", r.Stdout)
		}
		return nil
	})
	b.Write("key.yaml", object("Secret", "key", "data: {a: "+secret+"}"))
	b.UntilStatus("a fault", func(s harness.Status) error {
		if len(s.Faults) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	for what, text := range map[string]string{
		"the log of berth": up.Output(), "status": b.Must("status", "-o", "json"), "plan": b.CLI("plan", b.Manifests).Stdout,
		"validate": b.CLI("validate", b.Manifests).Stdout,
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows the secret: %s", what, text)
		}
	}
	find := exec.Command("grep", "-rl", secret, b.Run, b.State)
	find.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, _ := find.Output(); len(out) > 0 {
		t.Errorf("anybody can read the secret in %s", out)
	}
	for _, dir := range []string{b.Run, b.State} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || filepath.Base(path) == "key" || strings.Contains(path, "/files/") {
				return nil //nolint:nilerr // gone meanwhile
			}
			data, err := os.ReadFile(path)
			info, _ := d.Info()
			if err == nil && strings.Contains(string(data), secret) && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has the secret and mode %v", path, info.Mode())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
