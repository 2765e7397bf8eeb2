package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// claimFile is a PersistentVolumeClaim; more is the rest of its spec, a flow mapping without braces.
func claimFile(name, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %s}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}%s}\n", name, more)
}

// diary is a container that writes a line into its volume at each start, and is ready once it has.
func diary(line string) string {
	return shell("echo "+line+" >> /data/diary; exec tool sleep") + ", volumeMounts: [{name: data, mountPath: /data}]"
}

const dataClaim = "volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]"

// reads waits until a command inside a pod prints this.
func reads(b *harness.Berth, pod, want string, command ...string) {
	b.Helper()
	b.Until(fmt.Sprintf("%v in %s to print %q", command, pod, want), func() error {
		r := b.CLI(append([]string{"exec", pod, "--"}, command...)...)
		if r.Stdout != want {
			return fmt.Errorf("exit code %d: %q %s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// diarySays waits until the one pod of this prefix, whichever it is by then, has these lines in its volume.
func diarySays(b *harness.Berth, prefix, want string) {
	b.Helper()
	want = strings.ReplaceAll(want, " ", "\n") + "\n"
	b.Until(fmt.Sprintf("the diary of %s to be %q", prefix, want), func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		pods := s.PodsOf(prefix)
		if len(pods) != 1 || !pods[0].Ready {
			return fmt.Errorf("%d pods: %+v", len(pods), pods)
		}
		if r := b.CLI("exec", pods[0].Name, "--", "cat", "/data/diary"); r.Stdout != want {
			return fmt.Errorf("exit code %d: %q %s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// storedVolumes are the directories that the instance keeps for claims.
func storedVolumes(b *harness.Berth) []string {
	found, _ := filepath.Glob(filepath.Join(b.State, "volumes", "[^.]*"))
	return found
}

// Data in a claim survives whatever ends its pod or berth: kill, scaling, kill -9 of the controller, down, a reboot with and without the
// journal.
func TestClaims(t *testing.T) {
	if os.Getenv("BERTH_E2E_ISOLATE") == "0" {
		t.Skip("the boot id of this machine cannot be changed without a mount namespace of the test's own")
	}
	b := harness.New(t)
	b.Load(images.Tool)
	write := func(replicas int, line string) {
		m := deployment("db", replicas, diary(line))
		m.pod = dataClaim
		m.spec = "strategy: {type: Recreate}"
		b.Write("db.yaml", m.String())
	}
	write(1, "one")
	up := b.Up()
	b.UntilPod("db", "to wait for its claim", func(p harness.Pod) error {
		if p.Phase != "Pending" || !strings.Contains(p.Message, `persistentvolumeclaim "data" not found`) {
			return fmt.Errorf("%s %s", p.Phase, p.Message)
		}
		return nil
	})
	b.Write("data.yaml", claimFile("data", "storageClassName: nobody-declared-it"))
	diarySays(b, "db", "one")

	pid := b.UntilReady("db", 1)[0].Container("main").PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	diarySays(b, "db", "one one")
	write(0, "two")
	b.UntilReady("db", 0)
	write(1, "two")
	diarySays(b, "db", "one one two")
	up.Kill()
	write(1, "three")
	b.Up()
	diarySays(b, "db", "one one two three")
	b.Must("down")
	up = b.Up()
	diarySays(b, "db", "one one two three three")

	var undos []func()
	for _, lost := range []bool{false, true} {
		up.Kill()
		powerOff(t, b)
		if lost {
			if err := os.RemoveAll(filepath.Join(b.State, "objects")); err != nil {
				t.Fatal(err)
			}
		}
		undo := newBootID(t)
		up = b.Up()
		b.UntilReady("db", 1)
		undos = append(undos, undo)
	}
	diarySays(b, "db", "one one two three three three three")
	if n := len(storedVolumes(b)); n != 1 {
		t.Errorf("%d volumes are kept", n)
	}
	b.Must("down", "--volumes")
	if left := storedVolumes(b); len(left) > 0 {
		t.Errorf("after down --volumes there is %v", left)
	}
	for _, undo := range undos { // with no boot's traces left the boot id may be the real one again
		undo()
	}
	b.CheckLeaks()
	b.Up()
	diarySays(b, "db", "three")
}

// A claim that vanishes with everything else keeps its data; one of a class that deletes loses it, and not before its pods are gone.
func TestClaimsThatGo(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("db", diary("once"))
	m.pod = dataClaim + ", terminationGracePeriodSeconds: 0"
	b.Write("app/db.yaml", m.String())
	b.Write("app/data.yaml", claimFile("data", ""))
	b.Up()
	diarySays(b, "db", "once")
	b.Delete("app/db.yaml")
	b.Delete("app/data.yaml")
	b.Until("the pod to be gone", func() error {
		if s, err := b.Look(); err != nil || len(s.Pods) > 0 {
			return fmt.Errorf("%v, %v", s.Pods, err)
		}
		return nil
	})
	b.Write("app/db.yaml", m.String())
	b.Write("app/data.yaml", claimFile("data", ""))
	diarySays(b, "db", "once once")
	kept := storedVolumes(b)

	b.Write("class.yaml", "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: scratch}\nprovisioner: example.com/any\nreclaimPolicy: Delete\n")
	s := pod("tmp", diary("here"))
	s.pod = "volumes: [{name: data, persistentVolumeClaim: {claimName: tmp}}], terminationGracePeriodSeconds: 0"
	b.Write("tmp.yaml", s.String())
	b.Write("tmp-claim.yaml", claimFile("tmp", "storageClassName: scratch"))
	diarySays(b, "tmp", "here")
	b.Delete("tmp-claim.yaml")
	b.For(3*time.Second, "the data of a claim in use", func() error {
		if len(storedVolumes(b)) != len(kept)+1 {
			return fmt.Errorf("there is %v", storedVolumes(b))
		}
		return nil
	})
	b.Delete("tmp.yaml")
	b.Until("the data to be gone", func() error {
		if now := storedVolumes(b); fmt.Sprint(now) != fmt.Sprint(kept) {
			return fmt.Errorf("there is %v", now)
		}
		return nil
	})
	diarySays(b, "db", "once once")
}

// Data that is kept for nobody can be removed, one volume at a time, and never from under a claim.
func TestKeptVolumesCanBeRemoved(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("db", diary("once"))
	m.pod = dataClaim + ", terminationGracePeriodSeconds: 0"
	app := m.String() + "---\n" + claimFile("data", "")
	b.Write("app.yaml", app)
	b.Write("other.yaml", claimFile("other", ""))
	b.Up()
	diarySays(b, "db", "once")
	is := func(claim, phase string) (name string) {
		b.Until(claim+" to be "+phase, func() error {
			for line := range strings.Lines(b.Must("volume", "ls")) {
				if f := strings.Fields(line); len(f) > 2 && f[0] == "default/"+claim && f[2] == phase {
					name = f[1]
					return nil
				}
			}
			return fmt.Errorf("%s", b.Must("volume", "ls"))
		})
		return name
	}
	name := is("data", "Bound")
	if r := b.CLI("volume", "rm", name); r.Code != 1 || !strings.Contains(r.Stderr, "claim default/data has it") {
		t.Errorf("rm of a volume in use: exit code %d, %s", r.Code, r.Stderr)
	}
	b.Delete("app.yaml")
	if released := is("data", "Released"); released != name {
		t.Errorf("%s is released, it was %s", released, name)
	}
	b.Must("volume", "rm", name)
	b.Until("its data to be gone, and nothing else", func() error {
		if left := storedVolumes(b); len(left) != 1 {
			return fmt.Errorf("there is %v", left)
		}
		return nil
	})
	is("other", "Bound")
	if r := b.CLI("volume", "rm", name); r.Code != 1 || !strings.Contains(r.Stderr, "there is none of that name") {
		t.Errorf("rm of what is gone: exit code %d, %s", r.Code, r.Stderr)
	}
	b.Write("app.yaml", app)
	diarySays(b, "db", "once") // and not once more
}

// A pod's own claim goes with the pod, and so does its data; a second pod waits for a claim that only one may have.
func TestEphemeralAndOnce(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("own", diary("mine"))
	m.pod = "volumes: [{name: data, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}]"
	b.Write("own.yaml", m.String())
	b.Write("once.yaml", strings.Replace(claimFile("data", ""), "ReadWriteOnce]", "ReadWriteOncePod]", 1))
	for _, name := range []string{"first", "second"} {
		p := pod(name, run("sleep")+", volumeMounts: [{name: data, mountPath: /data}]")
		p.pod = dataClaim
		b.Write(name+".yaml", p.String())
		if name == "first" {
			b.Up()
			b.UntilPod("first", "to run", running)
		}
	}
	diarySays(b, "own", "mine")
	b.UntilPod("second", "to wait", func(p harness.Pod) error {
		if p.Phase != "Pending" || !strings.Contains(p.Message, "ReadWriteOncePod") {
			return fmt.Errorf("%s %s", p.Phase, p.Message)
		}
		return nil
	})
	b.Delete("first.yaml")
	b.UntilPod("second", "to run", running)
	b.Delete("own.yaml")
	b.Until("the pod's own data to be gone", func() error {
		if n := len(storedVolumes(b)); n != 1 {
			return fmt.Errorf("%d volumes", n)
		}
		return nil
	})
}

// Declared volumes: hostPath and local, chosen by size and class, read-only, by a group; nothing of them is ever deleted.
func TestDeclaredStorage(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	host := filepath.Join(filepath.Dir(b.Manifests), "host")
	for _, name := range []string{"small", "large", "local"} {
		if err := os.MkdirAll(filepath.Join(host, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(host, name, "name"), []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	volume := func(name, class, size, source string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {name: %s}\nspec: {capacity: {storage: %s}, accessModes: [ReadWriteOnce, ReadOnlyMany], storageClassName: %s, persistentVolumeReclaimPolicy: Delete, %s}\n",
			name, size, class, source)
	}
	b.Write("volumes.yaml", volume("small", "manual", "1Mi", fmt.Sprintf("hostPath: {path: %s/small}", host))+
		volume("large", "manual", "5Gi", fmt.Sprintf("hostPath: {path: %s/large, type: Directory}", host))+
		volume("local", "disk", "1Gi", fmt.Sprintf("local: {path: %s/local}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: Exists}]}]}}", host)))
	b.Write("claims.yaml", claimFile("manual", "storageClassName: manual")+"---\n"+
		strings.Replace(claimFile("disk", "storageClassName: disk"), "ReadWriteOnce]", "ReadOnlyMany]", 1)+"---\n"+claimFile("fresh", ""))
	m := pod("p", shell("exec tool sleep")+", securityContext: {runAsUser: 1000, runAsGroup: 1000}, volumeMounts: [{name: manual, mountPath: /manual}, {name: disk, mountPath: /disk}, {name: fresh, mountPath: /fresh}, {name: fresh, mountPath: /sub, subPathExpr: of-$(NAME)}, {name: fresh, mountPath: /ro, readOnly: true}], env: [{name: NAME, value: me}]")
	m.pod = "securityContext: {fsGroup: 2000, fsGroupChangePolicy: OnRootMismatch}, volumes: [{name: manual, persistentVolumeClaim: {claimName: manual, readOnly: true}}, {name: disk, persistentVolumeClaim: {claimName: disk}}, {name: fresh, persistentVolumeClaim: {claimName: fresh}}]"
	b.Write("p.yaml", m.String())
	b.Up()
	b.UntilPod("p", "to run", running)
	for _, c := range []struct{ script, want string }{
		{"cat /manual/name /disk/name", "large\nlocal\n"},
		{"touch /manual/x 2>&1 || echo no", "touch: /manual/x: Read-only file system\nno\n"},
		{"touch /ro/x 2>&1 || echo no", "touch: /ro/x: Read-only file system\nno\n"},
		{"touch /disk/mine && stat -c %g /disk/mine /disk/name", "2000\n2000\n"},
		{"echo sub > /sub/file; cat /fresh/of-me/file /ro/of-me/file; stat -c '%g %a' /fresh", "sub\nsub\n2000 2777\n"},
	} {
		reads(b, "p", c.want, "sh", "-c", c.script)
	}
	b.Delete("p.yaml")
	b.Delete("claims.yaml")
	b.Until("the pod to be gone", func() error {
		if s, err := b.Look(); err != nil || len(s.Pods) > 0 {
			return fmt.Errorf("%v, %v", s.Pods, err)
		}
		return nil
	})
	b.For(3*time.Second, "the declared data", func() error {
		for _, name := range []string{"small", "large", "local"} {
			if _, err := os.Stat(filepath.Join(host, name, "name")); err != nil {
				return err
			}
		}
		return nil
	})
}

// A subPath never leads out of its volume, whatever a container has put there; and a pod with ids of its own finds its data in a claim.
func TestClaimCannotBeLeft(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	secret := filepath.Join(filepath.Dir(b.Manifests), "secret")
	if err := os.WriteFile(secret, []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Write("data.yaml", claimFile("data", ""))
	evil := pod("evil", shell(fmt.Sprintf("cd /data; ln -s / root; ln -s %s file; ln -s ../../../../.. up; ln -s /proc/1/root proc; mkdir dir; echo inside > dir/x; echo inside > name; exec tool sleep", secret))+
		", volumeMounts: [{name: data, mountPath: /data}]")
	evil.pod = dataClaim
	b.Write("evil.yaml", evil.String())
	b.Up()
	b.UntilPod("evil", "to run", running)
	reads(b, "evil", "inside\n", "cat", "/data/name")
	for _, c := range []struct{ sub, want string }{
		{"root", "inside"}, // "/" is the volume's own
		{"up", "inside"},
		{"root/dir", ""},
	} {
		name := "p" + strings.ReplaceAll(c.sub, "/", "-")
		p := pod(name, shell("cat /in/name; ls /in/etc /in/proc/self 2>&1; exec tool sleep")+fmt.Sprintf(", volumeMounts: [{name: data, mountPath: /in, subPath: %s}]", c.sub))
		p.pod = dataClaim
		b.Write(name+".yaml", p.String())
		b.UntilPod(name, "to run", running)
		logHas(b, name, "/in/etc: No such file")
		if log := b.Must("logs", name); c.want != "" && !strings.HasPrefix(log, c.want) {
			t.Errorf("subPath %s shows %s", c.sub, log)
		}
	}
	for _, sub := range []string{"file", "proc/etc"} {
		name := "n" + strings.ReplaceAll(sub, "/", "-")
		p := pod(name, shell("cat /in /in/* ; exec tool sleep")+fmt.Sprintf(", volumeMounts: [{name: data, mountPath: /in, subPath: %s, readOnly: true}]", sub))
		p.pod = dataClaim
		b.Write(name+".yaml", p.String())
		b.UntilPod(name, "to be refused", func(p harness.Pod) error {
			if c := p.Container("main"); c.State != "CreateContainerError" || !strings.Contains(c.Message, "subPath") {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
	}
	own := pod("own", shell("cat /data/name; id -u; echo of-own-ids > /data/own; exec tool sleep")+", volumeMounts: [{name: data, mountPath: /data}]")
	own.pod = dataClaim + ", hostUsers: false"
	b.Write("own.yaml", own.String())
	b.UntilPod("own", "to run", running)
	logHas(b, "own", "inside\n0\n")
	reads(b, "evil", "0 of-own-ids\n", "sh", "-c", "echo $(stat -c %u /data/own) $(cat /data/own)")
}

// Each type of hostPath: what is there, what is made, and the words for what is not so.
func TestHostPathTypes(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	host := filepath.Join(filepath.Dir(b.Manifests), "host")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "dir/file"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(host, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(host, name), []byte("text\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(host, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type probe struct{ path, kind, script, want string }
	good := []probe{
		{"file", "File", "cat /in", "text\n"},
		{"dir", "Directory", "ls /in", "file\n"},
		{"dir", "DirectoryOrCreate", "ls /in", "file\n"},
		{"made-dir", "DirectoryOrCreate", "stat -c '%F %a' /in", "directory 755\n"},
		{"made-file", "FileOrCreate", "stat -c '%F %a' /in", "regular empty file 644\n"},
		{"untyped/dir", "", "stat -c '%F' /in", "directory\n"},
		{"socket", "Socket", "stat -c '%F' /in", "socket\n"},
		{"/dev/null", "CharDevice", "stat -c '%F' /in", "character special file\n"},
	}
	bad := []probe{
		{"dir", "File", "", "it is not a file"},
		{"file", "Directory", "", "it is not a directory"},
		{"file", "Socket", "", "it is not a socket"},
		{"file", "CharDevice", "", "it is not a character device"},
		{"/dev/null", "BlockDevice", "", "it is not a block device"},
		{"none", "File", "", "no such file"},
		{"none", "Directory", "", "no such file"},
		{b.State, "", "", "berth's own"},
	}
	file := func(name string, p probe) {
		path := p.path
		if !filepath.IsAbs(path) {
			path = filepath.Join(host, path)
		}
		m := pod(name, shell(p.script+"; exec tool sleep")+", volumeMounts: [{name: h, mountPath: /in}]")
		m.pod = fmt.Sprintf("volumes: [{name: h, hostPath: {path: %q, type: %q}}]", path, p.kind)
		b.Write(name+".yaml", m.String())
	}
	for i, p := range good {
		file(fmt.Sprintf("good-%d", i), p)
	}
	for i, p := range bad {
		file(fmt.Sprintf("bad-%d", i), p)
	}
	b.Up()
	for i, p := range good {
		logHas(b, fmt.Sprintf("good-%d", i), p.want)
	}
	for i, p := range bad {
		b.UntilPod(fmt.Sprintf("bad-%d", i), "to be refused for "+p.want, func(s harness.Pod) error {
			if c := s.Container("main"); c.State != "CreateContainerError" || !strings.Contains(c.Message, p.want) {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
	}
}
