package fit_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile/fit"
)

func asks(cpu, memory string) corev1.Container {
	list := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		if text != "" {
			list[name] = resource.MustParse(text)
		}
	}
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: list}}
}

func sidecar(c corev1.Container) corev1.Container {
	c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	return c
}

func TestAskedBy(t *testing.T) {
	tests := map[string]struct {
		inits, mains []corev1.Container
		want         fit.Room
	}{
		"nothing":                 {mains: []corev1.Container{asks("", "")}},
		"together":                {mains: []corev1.Container{asks("500m", "1Ki"), asks("1", "")}, want: fit.Room{MilliCPU: 1500, Memory: 1024}},
		"a larger init container": {inits: []corev1.Container{asks("2", "1"), asks("1", "1Ki")}, mains: []corev1.Container{asks("1", "10")}, want: fit.Room{MilliCPU: 2000, Memory: 1024}},
		"sidecars stay":           {inits: []corev1.Container{sidecar(asks("1", "5"))}, mains: []corev1.Container{asks("1", "5")}, want: fit.Room{MilliCPU: 2000, Memory: 10}},
		"init beside a sidecar":   {inits: []corev1.Container{asks("1", "4"), sidecar(asks("", "5")), asks("", "7")}, mains: []corev1.Container{asks("", "5")}, want: fit.Room{MilliCPU: 1000, Memory: 12}},
		"the disk": {mains: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceEphemeralStorage: resource.MustParse("1Ki"),
		}}}}, want: fit.Room{Disk: 1024}},
		"init before a sidecar": {inits: []corev1.Container{asks("", "7"), sidecar(asks("", "1"))}, mains: []corev1.Container{asks("", "1")}, want: fit.Room{Memory: 7}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := fit.AskedBy(&corev1.PodSpec{InitContainers: tt.inits, Containers: tt.mains}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestWanting(t *testing.T) {
	has := fit.Room{MilliCPU: 2000, Memory: 100}
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	placed := func(cpu, memory int64) fit.Pod {
		return fit.Pod{UID: "placed", Asks: fit.Room{MilliCPU: cpu, Memory: memory}, Placed: true}
	}
	tests := map[string]struct {
		pods []fit.Pod
		want map[types.UID]string
	}{
		"nobody":                 {},
		"just enough":            {pods: []fit.Pod{placed(1000, 60), {UID: "a", Asks: fit.Room{MilliCPU: 1000, Memory: 40}}}},
		"no memory":              {pods: []fit.Pod{placed(1000, 61), {UID: "a", Asks: fit.Room{MilliCPU: 1000, Memory: 40}}}, want: map[types.UID]string{"a": "1 Insufficient memory"}},
		"neither":                {pods: []fit.Pod{placed(1000, 61), {UID: "a", Asks: fit.Room{MilliCPU: 1001, Memory: 40}}}, want: map[types.UID]string{"a": "1 Insufficient cpu, 1 Insufficient memory"}},
		"no disk":                {pods: []fit.Pod{{UID: "a", Asks: fit.Room{Disk: 1}}}, want: map[types.UID]string{"a": "1 Insufficient ephemeral-storage"}},
		"asks for the other":     {pods: []fit.Pod{placed(3000, 0), {UID: "a", Asks: fit.Room{Memory: 40}}}},
		"the older first":        {pods: []fit.Pod{{UID: "a", Since: at(2), Asks: fit.Room{Memory: 60}}, {UID: "b", Since: at(1), Asks: fit.Room{Memory: 60}}}, want: map[types.UID]string{"a": "1 Insufficient memory"}},
		"never fits, blocks not": {pods: []fit.Pod{{UID: "a", Asks: fit.Room{Memory: 101}}, {UID: "b", Since: at(1), Asks: fit.Room{Memory: 60}}}, want: map[types.UID]string{"a": "1 Insufficient memory"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := tt.want
			if want == nil {
				want = map[types.UID]string{}
			}
			if d := cmp.Diff(want, fit.Wanting(has, tt.pods)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// Whoever gets a place gets it within what there is, and whoever waits would not have fitted beside those who have one.
func TestWantingIsRight(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		has := fit.Room{MilliCPU: r.Int64N(4000), Memory: r.Int64N(1000)}
		var pods []fit.Pod
		for i := range r.IntN(12) {
			pods = append(pods, fit.Pod{UID: types.UID(fmt.Sprint(i)), Asks: fit.Room{MilliCPU: r.Int64N(1500), Memory: r.Int64N(400)}, Since: time.Unix(r.Int64N(3), 0)})
		}
		wanting := fit.Wanting(has, pods)
		var taken fit.Room
		for _, p := range pods {
			if wanting[p.UID] == "" {
				taken = taken.Plus(p.Asks)
			}
		}
		if !taken.Within(has) {
			t.Fatalf("seed %d: %+v taken of %+v", seed, taken, has)
		}
		for i := range pods {
			if pods[i].Placed = wanting[pods[i].UID] == ""; !pods[i].Placed && taken.Plus(pods[i].Asks).Within(has) {
				t.Fatalf("seed %d: %+v waits beside %+v of %+v", seed, pods[i], taken, has)
			}
		}
		if again := fit.Wanting(has, pods); !slices.Equal(slices.Sorted(maps.Keys(wanting)), slices.Sorted(maps.Keys(again))) {
			t.Fatalf("seed %d: %v wait, and once the others have their places %v", seed, wanting, again)
		}
	}
}
