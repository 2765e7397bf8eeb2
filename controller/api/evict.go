package api

import (
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/reconcile/disruption"
)

// evict ends a Pod the way a drain does: if its disruption budget allows it.
func (wr *writer) evict(w http.ResponseWriter, r *Request) error {
	data, err := body(r)
	if err != nil {
		return err
	}
	var e policyv1.Eviction
	if err := utiljson.Unmarshal(data, &e); err != nil {
		return apierrors.NewBadRequest("error decoding Eviction: " + err.Error())
	}
	if e.Name != "" && e.Name != r.Name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	it, err := wr.Object(r)
	if err != nil {
		return err
	}
	o := e.DeleteOptions
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	if r.bool("dryRun") {
		o.DryRun = []string{metav1.DryRunAll}
	}
	err = wr.control.Evict(it.Key, len(o.DryRun) > 0, func() error { return wr.remove(r, it, o) })
	if refusal, ok := errors.AsType[*disruption.Refusal](err); ok {
		return tooMany(refusal)
	}
	if err != nil {
		return err
	}
	return wr.Respond(w, r, http.StatusCreated, &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: http.StatusCreated})
}

// tooMany is what kubectl drain waits on and tries again, unless waiting does not help.
func tooMany(r *disruption.Refusal) error {
	if r.Unsupported {
		return apierrors.NewInternalError(r)
	}
	err := apierrors.NewTooManyRequests(r.Error(), 0)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: r.Reason})
	return err
}

// cordon makes a node take no new pods, or take them again, with the taint that says so.
func cordon(n *corev1.Node, cordoned bool, now metav1.Time) {
	if n.Spec.Unschedulable == cordoned {
		return
	}
	n.Spec.Unschedulable = cordoned
	var taints []corev1.Taint
	for _, t := range n.Spec.Taints {
		if t.Key != corev1.TaintNodeUnschedulable {
			taints = append(taints, t)
		}
	}
	if cordoned {
		taints = append(taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &now})
	}
	n.Spec.Taints = taints
}
