package statefulset

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile/readiness"
)

// roll ends old pods, the highest ordinal first, down to the partition, as long as not too many are out and the new ones hold.
//
// Without a maxUnavailable one pod at a time is out of those that the rollout has come to; who is broken below them does not hold it up. With one, all
// pods of the set that do not serve count. An old pod that is not ready is ended in any case then, in its turn: nobody gets less for it, and what a broken
// revision has made would otherwise hold up the one that mends it, as it does in Kubernetes (a set whose pods come in order has waited before).
func (s *pass) roll() {
	partition, most, stated := 0, 1, false
	if u := s.set.Spec.UpdateStrategy.RollingUpdate; u != nil {
		if u.Partition != nil {
			partition = int(*u.Partition)
		}
		if stated = u.MaxUnavailable != nil; stated {
			most = max(1, share(u.MaxUnavailable, len(s.replicas)))
		}
	}
	out := 0
	for _, p := range s.replicas {
		if stated && s.out(p) {
			out++
		}
	}
	for at := len(s.replicas) - 1; at >= partition; at-- {
		switch p := s.replicas[at]; {
		case stated && s.old(p) && !readiness.Ready(p):
			s.end(p, "it is of an old revision")
		case out >= most:
			return
		case s.old(p):
			s.end(p, "it is of an old revision")
			out++
		case !stated && s.out(p):
			out++
		case p != nil:
			if wait := readiness.UntilSteady(p, s.now); wait > 0 {
				s.again(wait)
				return
			}
		}
	}
}

// old tells whether a place has a pod that stays, of another revision than the newest. One that has finished goes already.
func (s *pass) old(p *corev1.Pod) bool {
	return p != nil && p.DeletionTimestamp == nil && !finished(p) && revisionOf(p) != s.update
}

// again asks for a look after a while, unless there is an earlier one.
func (s *pass) again(after time.Duration) {
	if s.plan.RequeueAfter == 0 || after < s.plan.RequeueAfter {
		s.plan.RequeueAfter = after
	}
}

// out tells whether a place has no pod that serves.
func (s *pass) out(p *corev1.Pod) bool {
	return p == nil || p.DeletionTimestamp != nil || !s.available(p)
}

// share is a number, or a percentage rounded down.
func share(v *intstr.IntOrString, of int) int {
	if v.Type == intstr.Int {
		return int(v.IntVal)
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	if err != nil {
		return 0 // validation has refused it
	}
	return percent * of / 100
}
