package api

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
)

// generations are the kinds whose objects count their changes for clients to see. The store counts for all.
var generations = map[string]bool{
	"Pod": true, "ReplicationController": true, "Deployment": true, "ReplicaSet": true, "StatefulSet": true, "DaemonSet": true, "Job": true, "CronJob": true,
	"Ingress": true, "IngressClass": true, "NetworkPolicy": true, "PodDisruptionBudget": true, "PriorityClass": true, "EndpointSlice": true, "PodTemplate": true,
	"CSIDriver": true,
}

// newEvent is an event in the words of its younger API.
func newEvent(e *corev1.Event) *eventsv1.Event {
	n := &eventsv1.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, ReportingController: e.ReportingController,
		ReportingInstance: e.ReportingInstance, Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject, Related: e.Related, Note: e.Message, Type: e.Type,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp, DeprecatedCount: e.Count,
	}
	if e.Series != nil {
		n.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return n
}

// components are the parts of a cluster that old clients ask about: here all are one process, and it answers.
func (s *Server) components() {
	var all []store.Object
	for _, name := range []string{"controller-manager", "scheduler"} {
		all = append(all, &corev1.ComponentStatus{ // deprecated, and still asked for
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Conditions: []corev1.ComponentCondition{{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}},
		})
	}
	s.Handle("list", "componentstatuses", "", func(w http.ResponseWriter, r *Request) error {
		f, err := negotiate(r.Header.Get("Accept"), transformable)
		if err != nil {
			return err
		}
		return s.respondList(w, r, f, all, metav1.ListMeta{})
	})
	s.Handle("get", "componentstatuses", "", func(w http.ResponseWriter, r *Request) error {
		f, err := negotiate(r.Header.Get("Accept"), transformable)
		if err != nil {
			return err
		}
		for _, obj := range all {
			if obj.GetName() == r.Name {
				return s.respondAs(w, r, f, http.StatusOK, obj)
			}
		}
		return apierrors.NewNotFound(r.Resource.GroupResource(), r.Name)
	})
}
