package adoption_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/adoption"
)

func TestPlan(t *testing.T) {
	now := metav1.Now()
	kind := appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	owner := func() *appsv1.StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "owner"}}
	}
	pod := func(name, app string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid", Labels: map[string]string{"app": app}}}
		for _, c := range change {
			c(p)
		}
		return p
	}
	owned := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner(), kind)}
	}
	ending := func(p *corev1.Pod) { p.DeletionTimestamp = &now }
	adopted, released := []string{"adopt Pod/shop/db-0 for StatefulSet db"}, []string{"release Pod/shop/db-0: its labels do not match the selector any more"}
	tests := map[string]struct {
		change func(*adoption.Input)
		want   []string
	}{
		"nothing to do":    {func(in *adoption.Input) { in.Owned = []reconcile.Object{pod("db-0", "db", owned)} }, nil},
		"an orphan":        {func(in *adoption.Input) { in.Orphans = []reconcile.Object{pod("db-0", "db")} }, adopted},
		"other labels":     {func(in *adoption.Input) { in.Orphans = []reconcile.Object{pod("db-0", "web")} }, nil},
		"an ending orphan": {func(in *adoption.Input) { in.Orphans = []reconcile.Object{pod("db-0", "db", ending)} }, nil},
		"another's":        {func(in *adoption.Input) { in.Orphans = []reconcile.Object{pod("db-0", "db", owned)} }, nil},
		"another namespace": {func(in *adoption.Input) {
			in.Orphans = []reconcile.Object{pod("db-0", "db", func(p *corev1.Pod) { p.Namespace = "x" })}
		}, nil},
		"an ending owner": {func(in *adoption.Input) {
			in.Orphans = []reconcile.Object{pod("db-0", "db")}
			in.Owner.SetDeletionTimestamp(&now)
		}, nil},
		"relabelled":         {func(in *adoption.Input) { in.Owned = []reconcile.Object{pod("db-0", "web", owned)} }, released},
		"relabelled, ending": {func(in *adoption.Input) { in.Owned = []reconcile.Object{pod("db-0", "web", owned, ending)} }, nil},
		"no selector":        {func(in *adoption.Input) { in.Owned, in.Selector = []reconcile.Object{pod("db-0", "web", owned)}, nil }, nil},
		"an empty selector": {func(in *adoption.Input) {
			in.Orphans, in.Selector = []reconcile.Object{pod("db-0", "db")}, &metav1.LabelSelector{}
		}, nil},
		"any name": {func(in *adoption.Input) { in.Orphans = []reconcile.Object{pod("db-x", "db")} }, []string{"adopt Pod/shop/db-x for StatefulSet db"}},
		"a number": {func(in *adoption.Input) { in.Orphans, in.Numbered = []reconcile.Object{pod("db-0", "db")}, true }, adopted},
		"no number": {func(in *adoption.Input) {
			in.Orphans, in.Numbered = []reconcile.Object{pod("db-00", "db"), pod("db-x", "db"), pod("web-0", "db")}, true
		}, nil},
		"an expression": {func(in *adoption.Input) {
			in.Orphans, in.Selector = []reconcile.Object{pod("db-0", "db")}, oneOf("db", "web")
		}, adopted},
		"another expression": {func(in *adoption.Input) {
			in.Owned, in.Selector = []reconcile.Object{pod("db-0", "db", owned)}, oneOf("web")
		}, released},
		"a senseless selector": {func(in *adoption.Input) {
			in.Owned, in.Selector = []reconcile.Object{pod("db-0", "db", owned)}, oneOf()
		}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := adoption.Input{Owner: owner(), Kind: kind, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}
			tc.change(&in)
			var got []string
			for _, a := range adoption.Plan(in).Actions {
				got = append(got, a.String())
				if adopt, ok := a.(reconcile.AdoptObject); ok && (adopt.UID != "uid" || adopt.Owner.UID != "owner" || !*adopt.Owner.Controller) {
					t.Errorf("it adopts %+v", adopt)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("another plan (-want +got):\n%s", diff)
			}
		})
	}
}

func oneOf(values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: values}}}
}
