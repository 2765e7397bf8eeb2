package daemonset

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
)

// Progress tells how the rollout of a DaemonSet gets on, in the words of kubectl.
func Progress(set *appsv1.DaemonSet) (text string, done bool, err error) {
	s := &set.Status
	waiting := fmt.Sprintf("Waiting for daemon set %q rollout to finish: ", set.Name)
	switch {
	case set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
		return "", false, errors.New("rollout status is only available for RollingUpdate strategy type")
	case s.ObservedGeneration < set.Generation:
		return "Waiting for daemon set spec update to be observed...", false, nil
	case s.UpdatedNumberScheduled < s.DesiredNumberScheduled:
		return fmt.Sprintf("%s%d out of %d new pods have been updated...", waiting, s.UpdatedNumberScheduled, s.DesiredNumberScheduled), false, nil
	case s.NumberAvailable < s.DesiredNumberScheduled:
		return fmt.Sprintf("%s%d of %d updated pods are available...", waiting, s.NumberAvailable, s.DesiredNumberScheduled), false, nil
	}
	return fmt.Sprintf("daemon set %q successfully rolled out", set.Name), true, nil
}
