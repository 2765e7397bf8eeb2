package statefulset

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
)

// Progress tells how the rollout of a StatefulSet gets on, in the words of kubectl.
func Progress(set *appsv1.StatefulSet) (text string, done bool, err error) {
	s, replicas, partition := &set.Status, int32(wished(set)), int32(0)
	if u := set.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		partition = *u.Partition
	}
	switch {
	case set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		return "", false, errors.New("rollout status is only available for RollingUpdate strategy type")
	case s.ObservedGeneration < set.Generation:
		return "Waiting for statefulset spec update to be observed...", false, nil
	case s.ReadyReplicas < replicas:
		return fmt.Sprintf("Waiting for %d pods to be ready...", replicas-s.ReadyReplicas), false, nil
	case s.UpdatedReplicas < replicas-partition:
		return fmt.Sprintf("Waiting for partitioned roll out to finish: %d out of %d new pods have been updated...", s.UpdatedReplicas, replicas-partition), false, nil
	}
	return fmt.Sprintf("partitioned roll out complete: %d new pods have been updated...", s.UpdatedReplicas), true, nil
}
