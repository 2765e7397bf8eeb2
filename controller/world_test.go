package controller

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile/pod"
	"berth/runtime"
	"berth/runtime/runtimetest"
)

// world is a controller on a fake machine, inside a synctest bubble: its clock jumps when nothing is left to do.
type world struct {
	t      *testing.T
	dir    string
	fake   *runtimetest.Fake
	source *files
	c      *Controller
	opts   func(*Options)
	stop   func() error
	watch  func(*store.Store, store.Change) // of the next controller; nil for nobody
}

// files is a source: what it holds is one snapshot.
type files struct {
	snapshots chan manifests.Snapshot
	now       manifests.Snapshot
}

func (f *files) Run(ctx context.Context, emit func(manifests.Snapshot)) error {
	emit(f.now)
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-f.snapshots:
			emit(s)
		}
	}
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, dir: t.TempDir(), fake: runtimetest.New(clock.RealClock{}),
			source: &files{snapshots: make(chan manifests.Snapshot), now: manifests.Snapshot{Source: "test"}},
		}
		defer func() { w.end() }()
		test(w)
	})
}

// start runs a controller on the machine and the state as they are.
func (w *world) start() {
	w.t.Helper()
	opts := Options{
		Pods: w.fake, Containers: w.fake, Executor: w.fake, Dialer: w.fake, Events: w.fake, Images: w.fake, Volumes: w.fake,
		Router: w.fake, Judge: w.fake, ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), Source: w.source, StateDir: w.dir,
		Log: testLog(w.t), Guard: true, secondLook: 10 * time.Hour, Node: pod.Node{Name: "node", HostIP: "192.0.2.1", CPUs: 2, Memory: 1 << 30},
	}
	if w.opts != nil {
		w.opts(&opts)
	}
	c, err := New(opts)
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	if w.watch != nil {
		watch := w.watch
		c.store.Watch(func(ch store.Change) { watch(c.store, ch) })
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	w.c = c
	w.stop = func() error { cancel(); return <-ended }
	synctest.Wait()
}

func testLog(t *testing.T) logr.Logger {
	t.Helper()
	if !testing.Verbose() {
		return logr.Discard()
	}
	return funcr.New(func(_, args string) { t.Log(time.Now().Format("04:05.000"), args) }, funcr.Options{Verbosity: 1})
}

// end stops the controller; everything goes on running.
func (w *world) end() {
	if w.stop == nil {
		return
	}
	began := time.Now()
	if err := w.stop(); err != nil && !errors.Is(err, runtimetest.ErrDied) {
		w.t.Errorf("Run ended with %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		w.t.Errorf("Run took %s to end", took)
	}
	w.stop = nil
}

// restart kills the controller and starts the next one.
func (w *world) restart() {
	w.t.Helper()
	old := w.fake
	w.fake = old.Reopen()
	w.end()
	w.start()
}

// write makes the source hold these objects and no others, each in a file of its name.
func (w *world) write(objects ...manifests.Object) {
	w.snapshot(manifests.Snapshot{Objects: objects})
}

func (w *world) snapshot(s manifests.Snapshot) {
	s.Source, s.Files = "test", len(s.Objects)
	slices.SortFunc(s.Objects, func(a, b manifests.Object) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	w.source.now = s
	if w.stop != nil {
		w.source.snapshots <- s
		synctest.Wait()
	}
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// settle waits, at most nine minutes of the world's time (before the full look of ten could hide something), until nothing is left to do.
func (w *world) settle() Status {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 9*time.Minute)
	defer cancel()
	s, err := w.c.Settled(ctx)
	if ctx.Err() != nil {
		w.t.Fatalf("not settled after nine minutes: %s", table(s))
	}
	if err != nil && !errors.Is(err, ErrNotConverged) {
		w.t.Fatalf("Settled: %v", err)
	}
	synctest.Wait()
	return s
}

func table(s Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ready=%t converged=%t pulls=%v\n", s.Ready, s.Converged, s.Pulls)
	for _, w := range s.Workloads {
		fmt.Fprintf(&b, "%s/%s %d/%d updated %d available %d done=%t %s\n", w.Kind, w.Name, w.Ready, w.Desired, w.Updated, w.Available, w.Done, w.Problem)
	}
	for _, p := range s.Pods {
		fmt.Fprintf(&b, "  %s %s %s\n", p.Name, p.Reason, p.Message)
	}
	for _, x := range s.Waiting {
		fmt.Fprintf(&b, "  waits: %+v\n", x)
	}
	for _, f := range s.Faults {
		fmt.Fprintf(&b, "  fault: %s\n", f)
	}
	return b.String()
}

// running lists the names of the pods whose containers run on the machine, sorted.
func (w *world) running() []string {
	var names []string
	for _, p := range w.fake.Pods() {
		for _, c := range p.Containers {
			if c.State == runtime.Running {
				names = append(names, p.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) wantRunning(n int) {
	w.t.Helper()
	if got := w.running(); len(got) != n {
		w.t.Fatalf("%d pods run, want %d: %v\n%s", len(got), n, got, table(w.c.Status()))
	}
}

// pids maps pods to the processes of their containers.
func (w *world) pids() map[string]int {
	pids := map[string]int{}
	for _, p := range w.fake.Pods() {
		for _, c := range p.Containers {
			if c.State == runtime.Running {
				pids[p.Name] = c.PID
			}
		}
	}
	return pids
}

// wantPids holds that the very same processes run as before.
func (w *world) wantPids(before map[string]int, when string) {
	w.t.Helper()
	if diff := cmp.Diff(before, w.pids()); diff != "" {
		w.t.Fatalf("%s: other processes run (-before +after):\n%s", when, diff)
	}
}

// web is a Deployment with the defaults that manifests fills in.
func web(name, image string, replicas int32, change ...func(*appsv1.Deployment)) manifests.Object {
	labels := map[string]string{"app": name}
	quarter := intstr.FromString("25%")
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas:                &replicas,
			Selector:                &metav1.LabelSelector{MatchLabels: labels},
			Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(image)},
			Strategy:                appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &quarter, MaxSurge: &quarter}},
			RevisionHistoryLimit:    new(int32(10)),
			ProgressDeadlineSeconds: new(int32(600)),
		},
	}
	for _, c := range change {
		c(d)
	}
	return object(manifests.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name}, d)
}

func barePod(name, image string, args ...string) manifests.Object {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       podSpec(image),
	}
	p.Spec.Containers[0].Args = args
	return object(manifests.Key{Kind: "Pod", Namespace: "shop", Name: name}, p)
}

func podSpec(image string) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler",
		TerminationGracePeriodSeconds: new(int64(30)), SecurityContext: &corev1.PodSecurityContext{},
		Containers: []corev1.Container{{
			Name: "main", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
			TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		}},
	}
}

func object(key manifests.Key, obj interface {
	metav1.Object
	DeepCopyObject() kobject
},
) manifests.Object {
	data := fmt.Sprintf("%+v", mustJSON(obj))
	h := fnv.New64a()
	_, _ = h.Write([]byte(data))
	return manifests.Object{
		Key: key, Object: obj.DeepCopyObject(), Hash: fmt.Sprintf("%x", h.Sum64()),
		Origin: manifests.Origin{File: key.Name + ".yaml", Line: 1},
	}
}
