package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// Each verb of stock kubectl that reads shows what is there: compared with what berth itself says of the processes it runs.
func TestKubectlReads(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("p.yaml", manifest{name: "p", replicas: -1, main: run("sleep") + ", env: [{name: A, value: b}]"}.String())
	b.Write("web.yaml", manifest{name: "web", replicas: 2, main: run("sleep")}.String())
	b.Write("crash.yaml", manifest{name: "crash", replicas: -1, main: shell("echo gone; exit 3")}.String())
	b.Write("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: shop, labels: {a: b}}\ndata: {k: v}\n")
	b.Up()
	p := b.UntilPod("p", "to run", running)
	web := b.UntilReady("web", 2)
	tests := map[string]struct {
		args []string
		want string // a regular expression
	}{
		"get":                {[]string{"get", "deployments"}, `NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +2/2 +2 +2 +[0-9dhms]+\n`},
		"get pod":            {[]string{"get", "pod", "p"}, `NAME +READY +STATUS +RESTARTS +AGE\np +1/1 +Running +0 +[0-9dhms]+\n`},
		"get a crashing pod": {[]string{"get", "pod", "crash"}, `crash +0/1 +(CrashLoopBackOff|Error) +\d+`},
		"get wide":           {[]string{"get", "pod", "p", "-o", "wide"}, `IP +NODE +NOMINATED NODE +READINESS GATES\np +1/1 +Running +0 +[0-9dhms]+ +` + p.IP + ` +\S+ +<none> +<none>`},
		"get short names":    {[]string{"get", "po,deploy,cm", "-A"}, `(?s)pod/p .*deployment.apps/web .*shop +configmap/one +1 `},
		"get all":            {[]string{"get", "all"}, `(?s)pod/web-.*deployment.apps/web.*replicaset.apps/web-`},
		"get yaml":           {[]string{"get", "pod", "p", "-o", "yaml"}, `(?s)^apiVersion: v1\nkind: Pod\n.*\n  uid: ` + p.UID + `\n.*podIP: ` + p.IP},
		"get jsonpath":       {[]string{"get", "pod", "p", "-o", "jsonpath={.status.podIP} {.spec.containers[0].env[0].value}"}, `^` + p.IP + ` b$`},
		"get custom columns": {[]string{"get", "pods", "-l", "app=web", "-o", "custom-columns=N:.metadata.name"}, `(?s)^N\n` + web[0].Name + `\n` + web[1].Name + `\n$`},
		"get by label":       {[]string{"get", "pods", "-l", "app in (p,none)", "-o", "name"}, `^pod/p\n$`},
		"get by field":       {[]string{"get", "pods", "--field-selector", "status.phase=Running,metadata.name!=p", "-o", "name"}, `pod/` + web[0].Name + `\npod/` + web[1].Name},
		"get in parts":       {[]string{"get", "pods", "-l", "app=web", "--chunk-size=1", "-o", "name"}, `^pod/` + web[0].Name + `\npod/` + web[1].Name + `\n$`},
		"get namespaces":     {[]string{"get", "ns"}, `(?s)default +Active .*shop +Active`},
		"get nodes":          {[]string{"get", "nodes", "-o", "wide"}, ` +Ready +<none> +[0-9dhms]+ +v1\.36`},
		"get raw":            {[]string{"get", "--raw", "/readyz"}, `^ok$`},
		"sort":               {[]string{"get", "pods", "--sort-by=.metadata.name", "-o", "name"}, `(?s)pod/crash.*pod/p.*pod/web`},
		"describe pod":       {[]string{"describe", "pod", "p"}, `(?s)Name: +p\n.*IP: +` + p.IP + `\n.*State: +Running.*A: +b.*Ready +True`},
		"describe its steps": {[]string{"describe", "pod", "p"}, `(?s)Events:.*Normal +Scheduled .*Successfully assigned default/p to `},
		"describe its start": {[]string{"describe", "pod", "p"}, `(?s)Events:.*Normal +Started .*Started container `},
		"describe its image": {[]string{"describe", "pod", "p"}, `(?s)Events:.*Normal +Pulled .*Container image ".*" already present on machine`},
		"describe crashing":  {[]string{"describe", "pod", "crash"}, `(?s)Exit Code: +3.*Restart Count: `},
		"describe workload":  {[]string{"describe", "deploy", "web"}, `(?s)Replicas: +2 desired.*Events:.*ScalingReplicaSet.*Scaled up replica set web-\w+ from 0 to 2`},
		"describe node":      {[]string{"describe", "node"}, `(?s)Non-terminated Pods: +\(4 in total\).*default +p `},
		"events":             {[]string{"events", "--for", "deployment/web"}, `Normal +ScalingReplicaSet +Deployment/web +Scaled up`},
		"get events":         {[]string{"get", "events", "--field-selector", "involvedObject.kind=ReplicaSet"}, `SuccessfulCreate +replicaset/web-`},
		"newer events":       {[]string{"get", "events.events.k8s.io", "-o", "jsonpath={.items[*].regarding.kind}"}, `Deployment`},
		"wait":               {[]string{"wait", "--for=condition=Ready", "pod/p", "--timeout=10s"}, `pod/p condition met`},
		"wait for a path":    {[]string{"wait", "--for=jsonpath={.status.readyReplicas}=2", "deploy/web", "--timeout=10s"}, `condition met`},
		"rollout status":     {[]string{"rollout", "status", "deploy/web", "--timeout=10s"}, `successfully rolled out`},
		"api-resources":      {[]string{"api-resources", "--api-group=apps"}, `deployments +deploy +apps/v1 +true +Deployment`},
		"api-versions":       {[]string{"api-versions"}, `(?s)apps/v1\n.*\nv1\n`},
		"explain":            {[]string{"explain", "deploy.spec.replicas"}, `(?s)FIELD: replicas <integer>.*Number of desired pods`},
		"explain in full":    {[]string{"explain", "pod.spec.containers.ports", "--recursive"}, `containerPort\t<integer> -required-`},
		"cluster-info":       {[]string{"cluster-info"}, `Kubernetes control plane is running at https://127\.0\.0\.1:\d+`},
		"version":            {[]string{"version"}, `Server Version: v1\.36\.\d+\+berth`},
		"auth can-i":         {[]string{"auth", "can-i", "create", "pods/exec"}, `^yes`},
		"auth whoami":        {[]string{"auth", "whoami"}, `Username +berth-admin`},
		"top pod":            {[]string{"top", "pod", "p", "--containers"}, `POD +NAME +CPU\(cores\) +MEMORY\(bytes\) *\np +main +\d+m +\d+[KM]i`},
		"top node":           {[]string{"top", "node"}, `\d+m +\d+% +\d+Mi +\d+%`},
		"component statuses": {[]string{"get", "cs"}, `scheduler +Healthy +ok`},
		"no such pod":        {[]string{"get", "pod", "none"}, `Error from server \(NotFound\): pods "none" not found`},
		"no such field":      {[]string{"get", "pods", "--field-selector", "a.b=c"}, `field label not supported: a\.b`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b.Until("the right answer", func() error { // a crash needs its moment
				r := b.Kubectl(tc.args...)
				if out := r.Stdout + r.Stderr; !regexp.MustCompile(tc.want).MatchString(out) {
					return fmt.Errorf("kubectl %s says\n%s\nwant %s", strings.Join(tc.args, " "), out, tc.want)
				}
				return nil
			})
		})
	}
	t.Run("get -w", func(t *testing.T) { watchPods(t, b) })
}

// watchPods sees with kubectl what a change of a file does.
func watchPods(t *testing.T, b *harness.Berth) {
	t.Helper()
	cmd := b.KubectlCommand("get", "pods", "-l", "app in (p,later)", "-w", "--no-headers")
	var seen harness.Buffer
	cmd.Stdout, cmd.Stderr = &seen, &seen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	b.Until("the list before the watch", func() error { // nothing after it may be missed
		if !strings.Contains(seen.String(), "p ") {
			return fmt.Errorf("seen: %s", seen.String())
		}
		return nil
	})
	b.Write("later.yaml", manifest{name: "later", replicas: -1, main: run("sleep")}.String())
	b.Until("the pod's start on the watch", func() error {
		if !regexp.MustCompile(`(?s)later +0/1 +(Pending|ContainerCreating).*later +1/1 +Running`).MatchString(seen.String()) {
			return fmt.Errorf("seen: %s", seen.String())
		}
		return nil
	})
	gone := b.KubectlCommand("wait", "--for=delete", "pod/later", "--timeout=30s", "-v=6")
	var said harness.Buffer
	gone.Stderr = &said
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	b.Until("the watch of kubectl wait", func() error {
		if !strings.Contains(said.String(), "watch=true") {
			return fmt.Errorf("it says: %s", said.String())
		}
		return nil
	})
	b.Delete("later.yaml")
	if err := gone.Wait(); err != nil {
		t.Errorf("kubectl wait --for=delete: %v", err)
	}
	b.Until("the pod's end on the watch", func() error {
		if !strings.Contains(seen.String(), "Terminating") {
			return fmt.Errorf("seen: %s", seen.String())
		}
		return nil
	})
}
