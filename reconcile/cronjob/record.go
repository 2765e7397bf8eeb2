package cronjob

import (
	"encoding/json"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"berth/reconcile"
)

// record is what the CronJob remembers and Kubernetes has no place for in its status; it is kept in reconcile.AnnotationRecord.
type record struct {
	// Schedule is the one that is followed, and Since when it was first seen.
	Schedule string    `json:"schedule"`
	Since    time.Time `json:"since"`
	// Told is the last thing that was told about a time that was not used, so that it is told once.
	Told string `json:"told,omitempty"`
}

func recordOf(c *batchv1.CronJob) record {
	var r record
	if json.Unmarshal([]byte(c.Annotations[reconcile.AnnotationRecord]), &r) != nil {
		return record{}
	}
	return r
}

// follow begins anew when the schedule is another one than before. The first one counts from the beginning.
func (r *record) follow(spec *batchv1.CronJobSpec, now time.Time) {
	schedule := spec.Schedule
	if spec.TimeZone != nil {
		schedule += " (" + *spec.TimeZone + ")"
	}
	switch r.Schedule {
	case schedule:
		return
	case "":
		*r = record{Schedule: schedule}
	default:
		*r = record{Schedule: schedule, Since: now.UTC()}
	}
}

// in returns annotations with the record, the same map where it says so already.
func (r *record) in(annotations map[string]string) map[string]string {
	data, _ := json.Marshal(r) // strings and a time always marshal
	if *r == (record{}) || annotations[reconcile.AnnotationRecord] == string(data) {
		return annotations
	}
	out := maps.Clone(annotations)
	if out == nil {
		out = map[string]string{}
	}
	out[reconcile.AnnotationRecord] = string(data)
	return out
}

func zone(spec *batchv1.CronJobSpec) string {
	if spec.TimeZone == nil {
		return ""
	}
	return *spec.TimeZone
}
