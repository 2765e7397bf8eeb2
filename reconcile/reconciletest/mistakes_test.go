package reconciletest

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mistakes = flag.Bool("mistakes", false, "build the planners with known mistakes, and see each of them found")

// mistake is one way in which planners were, or could have been, wrong: a change of one line.
type mistake struct {
	name, file, right, wrong string
}

// All mistakes are built into one program, each asleep until its name is in the environment: one build instead of fifteen.
var knownMistakes = []mistake{
	{"surge off by one", "deployment/rolling.go", `wish+r.surge()-total`, `wish+r.surge()+int32(reconcile.Wrong("surge off by one"))-total`},
	{"starting pods counted as available", "deployment/rolling.go", `total(r.all(), sizeOf) - least - starting`, `total(r.all(), sizeOf) - least - starting*int32(1-reconcile.Wrong("starting pods counted as available"))`},
	{"old pods removed before new ones are ready", "deployment/rolling.go", `total(r.all(), availableOf) - least`, `total(r.all(), availableOf) - least + starting*int32(reconcile.Wrong("old pods removed before new ones are ready"))`},
	{"a moment's readiness is relied on", "deployment/rolling.go", `fresh.Pods = min(fresh.Pods, r.newest.available())`, `fresh.Pods = min(fresh.Pods, r.newest.available()) * int32(1-reconcile.Wrong("a moment's readiness is relied on"))`},
	{"maxUnavailable rounded up", "deployment/rolling.go", `scaled(u.MaxUnavailable, r.desired(), false)`, `scaled(u.MaxUnavailable, r.desired(), reconcile.Wrong("maxUnavailable rounded up") == 1)`},
	{"unhealthy old pods kept", "deployment/rolling.go", `n := min(spare, v.size-healthy(v))`, `n := min(spare, v.size-healthy(v)) * int32(1-reconcile.Wrong("unhealthy old pods kept"))`},
	{"recreate does not wait", "deployment/recreate.go", `if r.podsBeside(r.newest) {`, `if r.podsBeside(r.newest) && reconcile.Wrong("recreate does not wait") == 0 {`},
	{"ending pods counted as active", "replicaset/replicaset.go", `case p.DeletionTimestamp != nil:`, `case p.DeletionTimestamp != nil && reconcile.Wrong("ending pods counted as active") == 0:`},
	{"a pod counted twice", "replicaset/replicaset.go", `max(0, wish-len(active))`, `max(0, wish-len(active)-min(len(active), reconcile.Wrong("a pod counted twice")))`},
	{"minReadySeconds ignored", "readiness/readiness.go", `if !ok || minReady == 0`, `if !ok || reconcile.Wrong("minReadySeconds ignored") == 1 || minReady == 0`},
	{"the wrong pods go first", "replicaset/rank.go", `boolFirst(!readiness.Ready(a), !readiness.Ready(b)),`, `boolFirst(!readiness.Ready(a), !readiness.Ready(b)) * (1 - 2*reconcile.Wrong("the wrong pods go first")),`},
	{"pods leaked", "gc/gc.go", `case obj.GetDeletionTimestamp() != nil:`, `case obj.GetDeletionTimestamp() != nil || isPod && reconcile.Wrong("pods leaked") == 1:`},
	{"back-off never reset", "pod/backoff.go", `return c.last.FinishedAt.Sub(c.last.StartedAt) > forgivenAfter`, `return reconcile.Wrong("back-off never reset") == 0 && c.last.FinishedAt.Sub(c.last.StartedAt) > forgivenAfter`},
	{"back-off does not grow", "pod/backoff.go", `max(firstBackoff, 2*d)`, `max(firstBackoff, time.Duration(2-reconcile.Wrong("back-off does not grow"))*d)`},
	{"grace ignored", "pod/stop.go", "left > 0 {\n\t\tp.again(left)\n\t\tswitch", "left > 0 && reconcile.Wrong(\"grace ignored\") == 0 {\n\t\tp.again(left)\n\t\tswitch"},
	{"hooks not waited for", "pod/health.go", `return !begun || !run.Done() || run.Failure != ""`, `return reconcile.Wrong("hooks not waited for") == 0 && (!begun || !run.Done() || run.Failure != "")`},
	{"ended pods keep their sandboxes", "pod/pod.go", `&& p.ready {`, `&& p.ready && reconcile.Wrong("ended pods keep their sandboxes") == 0 {`},
	{"sidecars need not be ready", "pod/conditions.go", `if c.sidecar && !s.Init`, `if c.sidecar && reconcile.Wrong("sidecars need not be ready") == 0 && !s.Init`},
	{"deleted pods live on", "pod/pod.go", `case in.Pod.DeletionTimestamp != nil:`, `case in.Pod.DeletionTimestamp != nil && reconcile.Wrong("deleted pods live on") == 0:`},
	{"status flaps", "pod/conditions.go", `if s.Conditions[i].Status == c.Status &&`, `if reconcile.Wrong("status flaps") == 0 && s.Conditions[i].Status == c.Status &&`},
	{"mounted files do not follow", "pod/files.go", `if len(changed) > 0 {`, `if len(changed) > 0 && reconcile.Wrong("mounted files do not follow") == 0 {`},
	{"what is missing is not waited for", "pod/files.go", `if c == nil && !isTrue(optional) {`, `if c == nil && !isTrue(optional) && reconcile.Wrong("what is missing is not waited for") == 0 {`},
	{"history forgets what it would go back to", "deployment/plan.go", `&& !unsettled && !r.needed(v)`, `&& !unsettled && (reconcile.Wrong("history forgets what it would go back to") == 1 || !r.needed(v))`},
	{"going back again and again", "deployment/rollback.go", "if r.tookBack() {\n\t\treturn\n", "if r.tookBack() && reconcile.Wrong(\"going back again and again\") == 0 {\n\t\treturn\n"},
	{"the deadline of the rollout before", "deployment/conditions.go", `if !hasDeadline(r.d) || r.tookBack() {`, `if !hasDeadline(r.d) || r.tookBack() || reconcile.Wrong("the deadline of the rollout before") == 1 && reason == reasonFoundReplicaSet {`},
	{"what crashed later counts as a failed rollout", "deployment/revision.go", `return v.readyAs() > 0 && v`, `return reconcile.Wrong("what crashed later counts as a failed rollout") == 0 && v.readyAs() > 0 && v`},
	{"complete by counts of before", "deployment/status.go", `if !r.observed() || r.newest != nil`, `if !r.observed() && reconcile.Wrong("complete by counts of before") == 0 || reconcile.Wrong("complete by counts of before") == 0 && r.newest != nil`},
	{"a pull for every look", "pod/images.go", `state.PulledAt.Before(made) && !made.After(p.in.Now)`, `state.PulledAt.Before(made) && (reconcile.Wrong("a pull for every look") == 1 || !made.After(p.in.Now))`},
	{"scaled down from the wrong end", "statefulset/statefulset.go", `return cmp.Compare(y, x)`, `return cmp.Compare(y, x) * (1 - 2*reconcile.Wrong("scaled down from the wrong end"))`},
	{"one pod too few is wished", "statefulset/statefulset.go", `case at >= 0 && at < len(s.replicas):`, `case at >= 0 && at < len(s.replicas)-reconcile.Wrong("one pod too few is wished"):`},
	{"no waiting for those before", "statefulset/statefulset.go", `if wait := s.keep(at, ordered); wait && ordered {`, `if wait := s.keep(at, ordered); wait && ordered && reconcile.Wrong("no waiting for those before") == 0 {`},
	{"partition ignored", "statefulset/roll.go", `at >= partition; at--`, `at >= partition*(1-reconcile.Wrong("partition ignored")); at--`},
	{"one more out than allowed", "statefulset/roll.go", "out := 0\n", "out := -reconcile.Wrong(\"one more out than allowed\")\n"},
	{"new pods below the partition", "statefulset/pods.go", `if s.before != nil && s.belowPartition(ordinal) {`, `if s.before != nil && s.belowPartition(ordinal) && reconcile.Wrong("new pods below the partition") == 0 {`},
	{"claims deleted though retained", "statefulset/claims.go", `case policy.WhenScaled == remove && unwished:`, `case (policy.WhenScaled == remove || reconcile.Wrong("claims deleted though retained") == 1) && unwished:`},
	{"two pods of a daemon", "daemonset/daemonset.go", `if surge || len(p.present) == 0 {`, `if surge || len(p.present) <= reconcile.Wrong("two pods of a daemon") {`},
	{"a surge that does not wait", "daemonset/daemonset.go", `case !readiness.Ready(old), p.available`, `case reconcile.Wrong("a surge that does not wait") == 1, !readiness.Ready(old), p.available`},
	{"no surge", "daemonset/daemonset.go", `return u != nil && some(u.MaxSurge)`, `return u != nil && some(u.MaxSurge) && reconcile.Wrong("no surge") == 0`},
	{"a rollback that is no new revision", "history/history.go", `if last := h.revisions[len(h.revisions)-1]; last != r {`, `if last := h.revisions[len(h.revisions)-1]; last != r && reconcile.Wrong("a rollback that is no new revision") == 0 {`},
	{"completions counted twice", "job/count.go", `case known == succeeded:`, `case known == succeeded && reconcile.Wrong("completions counted twice") == 0:`},
	{"what was counted is forgotten", "job/record.go", `if !ok || json.Unmarshal`, `if !ok || reconcile.Wrong("what was counted is forgotten") == 1 || json.Unmarshal`},
	{"back-off of Jobs ignored", "job/manage.go", `return max(0, failure.Add(wait).Sub(p.in.Now))`, `return max(0, failure.Add(wait).Sub(p.in.Now)) * time.Duration(1-reconcile.Wrong("back-off of Jobs ignored"))`},
	{"one failure more than the limit", "job/decide.go", `p.status.Failed > limit ||`, `p.status.Failed > limit+int32(reconcile.Wrong("one failure more than the limit")) ||`},
	{"one pod more at once", "job/manage.go", `missing := want - len(p.active)`, `missing := want - len(p.active) + reconcile.Wrong("one pod more at once")`},
	{"an index twice at once", "job/manage.go", `if i := p.index(pod); i >= 0 && (`, `if i := p.index(pod); i >= 0 && reconcile.Wrong("an index twice at once") == 0 && (`},
	{"a Job finishes before its pods", "job/decide.go", "p.active = nil\n\tif p.terminating > 0 {", "p.active = nil\n\tif p.terminating > 0 && reconcile.Wrong(\"a Job finishes before its pods\") == 0 {"},
	{"Forbid ignored", "cronjob/cronjob.go", `if len(p.active) > 0 && spec`, `if len(p.active) > 0 && reconcile.Wrong("Forbid ignored") == 0 && spec`},
	{"missed times all run", "cronjob/schedule.go", `return time.Unix(hi, 0)`, `return time.Unix(hi, 0).Add(time.Duration(reconcile.Wrong("missed times all run")) * first.Sub(time.Unix(hi, 0)))`},
	{"a time used twice", "cronjob/cronjob.go", `if !at.IsZero() && (`, `if !at.IsZero() && reconcile.Wrong("a time used twice") == 0 && (`},
	{"one Job more in the history", "cronjob/cronjob.go", `len(list)-int(*limit)`, `len(list)-int(*limit)-reconcile.Wrong("one Job more in the history")`},
	{"a volume for two claims", "claim/match.go", `if v.Spec.ClaimRef != nil || refusal(v) != ""`, `if v.Spec.ClaimRef != nil && reconcile.Wrong("a volume for two claims") == 0 || refusal(v) != ""`},
	{"what came back is not known", "claim/match.go", `if fits && (best == nil ||`, `if fits && reconcile.Wrong("what came back is not known") == 0 && (best == nil ||`},
	{"data deleted because a claim is missing", "claim/volume.go", `going := v.DeletionTimestamp != nil &&`, `going := (v.DeletionTimestamp != nil || reconcile.Wrong("data deleted because a claim is missing") == 1 && v.Spec.ClaimRef != nil) &&`},
	{"claims end under their pods", "claim/claim.go", `case ending && len(in.Users) == 0:`, `case ending && (len(in.Users) == 0 || reconcile.Wrong("claims end under their pods") == 1):`},
	{"data stays when its owner goes", "claim/claim.go", `(taken || v.Spec`, `(taken && reconcile.Wrong("data stays when its owner goes") == 0 || v.Spec`},
	{"the newest pod has the claim", "claim/pods.go", `if best == nil || before(p, best) {`, `if best == nil || before(p, best) == (reconcile.Wrong("the newest pod has the claim") == 0) {`},
	{"pods begin with claims that go", "pod/claims.go", `case c.Claim.DeletionTimestamp != nil:`, `case c.Claim.DeletionTimestamp != nil && reconcile.Wrong("pods begin with claims that go") == 0:`},
	{"pods hear of their end too early", "pod/stop.go", `if !p.in.Routed {`, `if !p.in.Routed || reconcile.Wrong("pods hear of their end too early") == 1 {`},
	{"ending pods are sent connections", "service/endpoints.go", `|| e.Serving && !e.Terminating`, `|| e.Serving && (!e.Terminating || reconcile.Wrong("ending pods are sent connections") == 1)`},
	{"unready pods are sent connections", "service/endpoints.go", `Serving: ready(p)}`, `Serving: ready(p) || reconcile.Wrong("unready pods are sent connections") == 1}`},
	{"orphans are not adopted", "adoption/adoption.go", `case obj.GetNamespace() != in.Owner.GetNamespace(),`, `case reconcile.Wrong("orphans are not adopted") == 1, obj.GetNamespace() != in.Owner.GetNamespace(),`},
	{"adopted by anybody", "adoption/adoption.go", `!matches(obj.GetLabels()):`, `reconcile.Wrong("adopted by anybody") == 0 && !matches(obj.GetLabels()):`},
	{"orphans are garbage", "gc/gc.go", `if owner == nil || in.Live`, `if owner == nil && reconcile.KeyOf(obj).Kind == reconcile.KindReplicaSet && reconcile.Wrong("orphans are garbage") == 1 {
			p.Actions = append(p.Actions, reconcile.DeleteObject{Key: reconcile.KeyOf(obj), UID: obj.GetUID()})
			continue
		} else if owner == nil || in.Live`},
	{"an address is not carried", "service/families.go", "\tis.ClusterIP = was.ClusterIP\n", "\tif reconcile.Wrong(\"an address is not carried\") == 0 {\n\t\tis.ClusterIP = was.ClusterIP\n\t}\n"},
	{"one family of two", "service/endpoints.go", "range families {\n\t\tvar ok bool", "range families[:len(families)-reconcile.Wrong(\"one family of two\")*(len(families)-1)] {\n\t\tvar ok bool"},
	{"an address for two Services", "service/allocate.go", "\tcase taken:\n", "\tcase taken && reconcile.Wrong(\"an address for two Services\") == 0:\n"},
}

// foundWithin is how many seeds a mistake may hide in.
const foundWithin = "2000"

const wrongSource = `package reconcile

import "os"

var wrong = os.Getenv("BERTH_MISTAKE")

// Wrong is 1 while the mistake of that name is awake.
func Wrong(name string) int {
	if wrong == name {
		return 1
	}
	return 0
}
`

// TestMistakes holds that the simulation would notice: it builds the planners with all known mistakes, checks that they are sound while the
// mistakes sleep, and wakes one after the other.
func TestMistakes(t *testing.T) {
	sources := patched(t)
	if !*mistakes {
		t.Skip("every known mistake still fits the source; building and finding them takes some seconds: go test ./reconcile/reconciletest -run Mistakes -mistakes")
	}
	program := build(t, sources)
	if out, err := live("", program, "-test.run=^TestSim$", "-seeds=20"); err != nil {
		t.Fatalf("without a mistake: %v\n%s", err, out)
	}
	for _, m := range knownMistakes {
		t.Run(m.name, func(t *testing.T) {
			out, err := live(m.name, program, "-test.run=^TestSim$", "-seeds="+foundWithin)
			if err == nil {
				t.Fatalf("%s seeds did not find it:\n%s", foundWithin, out)
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, "seed ") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

// patched returns the sources with all mistakes in them, by file.
func patched(t *testing.T) map[string]string {
	t.Helper()
	sources := map[string]string{}
	for _, m := range knownMistakes {
		if sources[m.file] == "" {
			data, err := os.ReadFile(filepath.Join("..", m.file))
			if err != nil {
				t.Fatal(err)
			}
			sources[m.file] = string(data)
		}
		if n := strings.Count(sources[m.file], m.right); n != 1 {
			t.Fatalf("%s: the line of mistake %q is there %d times", m.file, m.name, n)
		}
		sources[m.file] = strings.Replace(sources[m.file], m.right, m.wrong, 1)
	}
	for file, text := range sources {
		if !strings.Contains(text, `"berth/reconcile"`) {
			sources[file] = strings.Replace(text, "import (", "import (\n\t\"berth/reconcile\"", 1)
			if sources[file] == text {
				sources[file] = strings.Replace(text, "import \"", "import \"berth/reconcile\"\nimport \"", 1)
			}
		}
	}
	return sources
}

// build makes a test program of this package on the patched sources, which stay where they are.
func build(t *testing.T, sources map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(file, text string) {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, file)] = path
	}
	add("wrong.go", wrongSource)
	for file, text := range sources {
		add(file, text)
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", list, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the mistakes: %v\n%s", err, out)
	}
	return program
}

func live(mistake, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "BERTH_MISTAKE="+mistake)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
