package claim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/claim"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// pvc is a claim of class "disk" for 5Gi.
func pvc(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "c1"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("disk"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func pv(name, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "disk", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadOnlyMany},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv"}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		},
	}
	for _, f := range change {
		f(v)
	}
	return v
}

func heldBy(uid types.UID) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "data", UID: uid}
	}
}

func made(v *corev1.PersistentVolume) {
	v.Annotations = map[string]string{claim.AnnotationProvisionedBy: reconcile.StorageDriver}
	v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: reconcile.StorageDriver, VolumeHandle: v.Name}}
}

func deletes(v *corev1.PersistentVolume) {
	v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
}

func nfs(v *corev1.PersistentVolume) {
	v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "n", Path: "/"}}
}

func ending(o metav1.Object) { o.SetDeletionTimestamp(&metav1.Time{Time: now}) }

func bound(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName = name
		c.Annotations = map[string]string{claim.AnnotationBindCompleted: "yes"}
	}
}

func owned(c *corev1.PersistentVolumeClaim) {
	c.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "web", UID: "s1", Controller: new(true)}}
}

func names(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name }
}

func class(provisioner string, policy corev1.PersistentVolumeReclaimPolicy) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Provisioner: provisioner, ReclaimPolicy: &policy}
}

func words(p reconcile.Plan) string {
	var lines []string
	for _, a := range p.Actions {
		lines = append(lines, strings.NewReplacer("PersistentVolumeClaim/shop/", "", "PersistentVolume//", "", "PersistentVolume/", "").Replace(a.String()))
	}
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	users := []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "db"}}}
	const provision = "provision pvc-c1 for data\ndata: ProvisioningSucceeded: Successfully provisioned volume pvc-c1"
	tests := map[string]struct {
		in   claim.Input
		want string
	}{
		"nothing there":          {claim.Input{Claim: pvc()}, provision},
		"the smallest that fits": {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("s", "1Gi"), pv("l", "9Gi"), pv("m", "5Gi")}}, "bind data to m"},
		"of equals the first":    {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("b", "5Gi"), pv("a", "5Gi")}}, "bind data to a"},
		"the one it had, however large": {
			claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("a", "5Gi"), pv("b", "9Gi")}, Former: map[string]reconcile.Key{"b": {Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "data"}}},
			"bind data to b",
		},
		"not the one another had": {
			claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("a", "5Gi"), pv("b", "9Gi")}, Former: map[string]reconcile.Key{"a": {Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "x"}}},
			"bind data to b",
		},
		"a volume of another claim": {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("p", "5Gi", made, func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "x"}
		})}}, provision},
		"one reserved by name": {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi"), pv("mine", "50Gi", heldBy(""))}}, "bind data to mine"},
		"one of a claim of the same name in another namespace": {
			claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) { c.Namespace = "other" }), Volumes: []*corev1.PersistentVolume{pv("p", "5Gi", made, heldBy(""))}},
			"provision pvc-c1 for PersistentVolumeClaim/other/data\nPersistentVolumeClaim/other/data: ProvisioningSucceeded: Successfully provisioned volume pvc-c1",
		},
		"its own data of before": {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi"), pv("old", "1Gi", made, heldBy("c0"))}}, "bind data to old"},
		"its own data of before, shared otherwise": {
			claim.Input{
				Claim: pvc(func(c *corev1.PersistentVolumeClaim) {
					c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
				}),
				Volumes: []*corev1.PersistentVolume{pv("old", "5Gi", made, heldBy("c0"))},
			},
			"bind data to old",
		},
		"its data is being deleted":   {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("old", "5Gi", made, heldBy("c0"), func(v *corev1.PersistentVolume) { ending(v) })}}, provision},
		"reserved and too small":      {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("mine", "1Gi", heldBy(""))}}, "data: VolumeMismatch: Cannot bind PersistentVolume \"mine\" to requested PersistentVolumeClaim: requested PV is too small\nupdate status"},
		"only what does not fit":      {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("s", "1Gi")}}, "data: ProvisioningFailed: storageclass.storage.k8s.io \"disk\" not found: its volumes are those that files declare, and none that is free fits this claim\nupdate status"},
		"what this machine has not":   {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("n", "5Gi", nfs)}}, "data: ProvisioningFailed: storageclass.storage.k8s.io \"disk\" not found: its volumes are those that files declare, and none that is free fits this claim (n: volumes of kind nfs are not supported: this machine has hostPath and local ones)\nupdate status"},
		"a declared class makes more": {claim.Input{Claim: pvc(), Class: class("x", "Delete"), Volumes: []*corev1.PersistentVolume{pv("s", "1Gi")}}, provision},
		"a class without provisioner": {claim.Input{Claim: pvc(), Class: class("kubernetes.io/no-provisioner", "Retain")}, "data: FailedBinding: no persistent volumes available for this claim, and class \"disk\" has no provisioner\nupdate status"},
		"expressly no class":          {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("") })}, "data: FailedBinding: no persistent volumes available for this claim and no storage class is set\nupdate status"},
		"no word of a class":          {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil })}, provision},
		"the default class":           {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }), Class: class("x", "Retain"), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi")}}, "bind data to m"},
		"a selector": {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi"), pv("ab", "9Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} })}}, "bind data to ab"},
		"a selector by expression": {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: []string{"b", "c"}}}}
		}), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi"), pv("ab", "9Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} })}}, "bind data to ab"},
		"access modes": {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}), Class: class("x", "Retain"), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi")}}, provision},
		"a block device":              {claim.Input{Claim: pvc(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block })}, "data: ProvisioningFailed: volumeMode Block is not supported: the volumes of this machine are directories\nupdate status"},
		"a named one":                 {claim.Input{Claim: pvc(names("l")), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi"), pv("l", "9Gi")}}, "bind data to l"},
		"a named one that is missing": {claim.Input{Claim: pvc(names("l"))}, "data: FailedBinding: volume \"l\" not found\nupdate status"},
		"a named one that is small":   {claim.Input{Claim: pvc(names("s")), Volumes: []*corev1.PersistentVolume{pv("s", "1Gi")}}, "data: VolumeMismatch: Cannot bind to requested volume \"s\": requested PV is too small\nupdate status"},
		"a named one of another claim": {claim.Input{Claim: pvc(names("l")), Volumes: []*corev1.PersistentVolume{pv("l", "9Gi", func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "x"}
		})}}, "data: FailedBinding: volume \"l\" already bound to a different claim.\nupdate status"},
		"half bound":            {claim.Input{Claim: pvc(), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", heldBy("c1"))}}, "bind data to m"},
		"bound":                 {claim.Input{Claim: pvc(bound("m")), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", heldBy("c1"))}}, "update status"},
		"bound, and wants more": {claim.Input{Claim: pvc(bound("m")), Volumes: []*corev1.PersistentVolume{pv("m", "1Gi", made, heldBy("c1"))}}, "bind data to m\nupdate status"},
		"bound and lost":        {claim.Input{Claim: pvc(bound("m"))}, "data: ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!\nupdate status"},
		"bound to what another has": {claim.Input{Claim: pvc(bound("m")), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "x"}
		})}}, "data: ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly\nupdate status"},
		"ending and in use": {claim.Input{Claim: pvc(bound("m"), func(c *corev1.PersistentVolumeClaim) { ending(c) }), Users: users, Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", heldBy("c1"))}}, "update status"},
		"ending":            {claim.Input{Claim: pvc(bound("m"), func(c *corev1.PersistentVolumeClaim) { ending(c) }), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", made, heldBy("c1"))}}, "remove data"},
		"ending, and its class deletes": {
			claim.Input{Claim: pvc(bound("m"), func(c *corev1.PersistentVolumeClaim) { ending(c) }), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", made, deletes, heldBy("c1"))}},
			"remove data and its data",
		},
		"ending, and its owner takes it along": {
			claim.Input{Claim: pvc(bound("m"), owned, func(c *corev1.PersistentVolumeClaim) { ending(c) }), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", made, heldBy("c1"))}},
			"remove data and its data",
		},
		"ending with its owner, its class retains": {
			claim.Input{Claim: pvc(bound("m"), owned, func(c *corev1.PersistentVolumeClaim) { ending(c) }), Class: class("x", "Retain"), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", made, heldBy("c1"))}},
			"remove data",
		},
		"ending, a declared volume is not deleted": {
			claim.Input{Claim: pvc(bound("m"), func(c *corev1.PersistentVolumeClaim) { ending(c) }), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", deletes, heldBy("c1"))}},
			"remove data",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.in.Now = now
			if diff := cmp.Diff(tt.want, words(claim.Plan(tt.in))); diff != "" {
				t.Errorf("Plan (-want +got):\n%s", diff)
			}
		})
	}
}

// What has been said is not said again.
func TestPlanIsQuiet(t *testing.T) {
	for name, in := range map[string]claim.Input{
		"waiting": {Claim: pvc(names("l"))},
		"lost":    {Claim: pvc(bound("l"))},
		"bound":   {Claim: pvc(bound("m")), Volumes: []*corev1.PersistentVolume{pv("m", "5Gi", heldBy("c1"))}},
	} {
		in.Now = now
		for _, a := range claim.Plan(in).Actions {
			if u, ok := a.(reconcile.UpdateStatus); ok {
				in.Claim = u.Object.(*corev1.PersistentVolumeClaim)
			}
		}
		in.Now = now.Add(time.Hour)
		if got := words(claim.Plan(in)); got != "" {
			t.Errorf("%s: again it plans %s", name, got)
		}
	}
}

func TestPlanVolume(t *testing.T) {
	users := []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "db"}}}
	end := func(v *corev1.PersistentVolume) { ending(v) }
	elsewhere := func(v *corev1.PersistentVolume) {
		v.Annotations = map[string]string{claim.AnnotationBoundByController: "yes"}
	}
	const unsupported = "volumes of kind nfs are not supported: this machine has hostPath and local ones"
	tests := map[string]struct {
		in    claim.VolumeInput
		want  string
		phase corev1.PersistentVolumePhase
	}{
		"free":                                   {claim.VolumeInput{Volume: pv("m", "5Gi")}, "update status", corev1.VolumeAvailable},
		"reserved":                               {claim.VolumeInput{Volume: pv("m", "5Gi", heldBy(""))}, "update status", corev1.VolumeAvailable},
		"bound":                                  {claim.VolumeInput{Volume: pv("m", "5Gi", heldBy("c1")), Claim: pvc(bound("m"))}, "update status", corev1.VolumeBound},
		"half bound":                             {claim.VolumeInput{Volume: pv("m", "5Gi", heldBy("c1")), Claim: pvc()}, "", ""},
		"its claim has another":                  {claim.VolumeInput{Volume: pv("m", "5Gi", heldBy("c1"), elsewhere), Claim: pvc(bound("x"))}, "unbind m", ""},
		"released":                               {claim.VolumeInput{Volume: pv("m", "5Gi", made, deletes, heldBy("c0"))}, "update status", corev1.VolumeReleased},
		"released, a claim of the name is there": {claim.VolumeInput{Volume: pv("m", "5Gi", heldBy("c0")), Claim: pvc(bound("x"))}, "update status", corev1.VolumeReleased},
		"released, declared, to be deleted": {
			claim.VolumeInput{Volume: pv("m", "5Gi", deletes, heldBy("c0"))},
			"m: VolumeFailedDelete: the data of a declared volume is never deleted: Delete is taken as Retain\nupdate status", corev1.VolumeReleased,
		},
		"of no kind we have":         {claim.VolumeInput{Volume: pv("n", "5Gi", nfs)}, "n: Unsupported: " + unsupported + "\nupdate status", corev1.VolumeFailed},
		"going, and held":            {claim.VolumeInput{Volume: pv("m", "5Gi", made, deletes, end, heldBy("c1")), Claim: pvc(bound("m"))}, "update status", corev1.VolumeBound},
		"going, and in use":          {claim.VolumeInput{Volume: pv("m", "5Gi", made, deletes, end, heldBy("c0")), Users: users}, "update status", corev1.VolumeReleased},
		"going, and half bound":      {claim.VolumeInput{Volume: pv("m", "5Gi", made, deletes, end, heldBy("c1")), Claim: pvc()}, "remove m and its data", ""},
		"going, half bound, in use":  {claim.VolumeInput{Volume: pv("m", "5Gi", end, heldBy("c1")), Claim: pvc(), Users: users}, "update status", corev1.VolumeReleased},
		"going":                      {claim.VolumeInput{Volume: pv("m", "5Gi", made, deletes, end, heldBy("c0"))}, "remove m and its data", ""},
		"going, retained":            {claim.VolumeInput{Volume: pv("m", "5Gi", made, end, heldBy("c0"))}, "remove m", ""},
		"going, declared":            {claim.VolumeInput{Volume: pv("m", "5Gi", deletes, end, heldBy("c0"))}, "remove m", ""},
		"going, made and declared":   {claim.VolumeInput{Volume: pv("m", "5Gi", made, deletes, end, heldBy("c0")), Stated: true}, "remove m", ""},
		"going, and never anybody's": {claim.VolumeInput{Volume: pv("m", "5Gi", end)}, "remove m", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plan := claim.PlanVolume(tt.in)
			if diff := cmp.Diff(tt.want, words(plan)); diff != "" {
				t.Errorf("PlanVolume (-want +got):\n%s", diff)
			}
			for _, a := range plan.Actions {
				if u, ok := a.(reconcile.UpdateStatus); ok {
					v := u.Object.(*corev1.PersistentVolume)
					if v.Status.Phase != tt.phase {
						t.Errorf("phase %s, want %s", v.Status.Phase, tt.phase)
					}
					tt.in.Volume = v
				}
			}
			if again := words(claim.PlanVolume(tt.in)); strings.Contains(again, "status") {
				t.Errorf("again it plans %s", again)
			}
		})
	}
}

func TestHolder(t *testing.T) {
	pod := func(name string, age time.Duration, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-age))}}
		for _, f := range change {
			f(p)
		}
		return p
	}
	begun := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	}
	done := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	for want, pods := range map[string][]*corev1.Pod{
		"old":   {pod("new", time.Second), pod("old", time.Hour)},
		"begun": {pod("older", time.Hour), pod("begun", time.Minute, begun)},
		"next":  {pod("done", time.Hour, begun, done), pod("next", time.Second)},
		"a":     {pod("b", time.Second), pod("a", time.Second)},
	} {
		if got := claim.Holder(pods); got == nil || got.Name != want {
			t.Errorf("it is %v that holds, want %s", got, want)
		}
	}
}
