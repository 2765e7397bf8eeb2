package reconcile

import (
	"fmt"
	"strings"
)

// String tells what will be done in one line: verb, object, reason.

func (a UpdateReplicaSet) String() string {
	return fmt.Sprintf("scale %s to %d%s", a.Key, a.Replicas, because(a.Reason))
}

func (a CreatePod) String() string { return "create Pod/" + a.Pod.Namespace + "/" + a.Pod.Name }

func (a DeletePod) String() string { return "delete " + a.Key.String() + because(a.Reason) }

func (a UpdateStatus) String() string { return "update status" }

func (a SetAnnotation) String() string {
	if a.New == "" {
		return fmt.Sprintf("unmark %s: %s", a.Key, a.Name)
	}
	return fmt.Sprintf("mark %s: %s=%s", a.Key, a.Name, a.New)
}

func (a Scale) String() string {
	if a.Replicas == nil {
		return fmt.Sprintf("let go of the size of %s: %s does not scale it any more", a.Key, a.By)
	}
	return fmt.Sprintf("scale %s to %d: %s wants it", a.Key, *a.Replicas, a.By)
}

func (a RecordEvent) String() string { return fmt.Sprintf("%s: %s: %s", a.Key, a.Reason, a.Message) }

func (a PullImage) String() string { return fmt.Sprintf("pull %s for %s", a.Ref, a.Pod) }

func (a RunSandbox) String() string { return "run sandbox of " + a.Pod.String() }

func (a UpdateFiles) String() string {
	names := make([]string, len(a.Volumes))
	for i := range a.Volumes {
		names[i] = a.Volumes[i].Name
	}
	return "update files of " + a.Pod.String() + ": volume " + strings.Join(names, ", ")
}

func (a StartContainer) String() string {
	return fmt.Sprintf("start container %s of %s, attempt %d", a.Config.Name, a.Pod, a.Config.Attempt)
}

func (a SignalContainer) String() string {
	return fmt.Sprintf("send signal %d to container %s of %s%s", a.Signal, a.Container, a.Pod, because(a.Reason))
}

func (a KillContainer) String() string {
	return fmt.Sprintf("kill container %s of %s%s", a.Container, a.Pod, because(a.Reason))
}

func (a RemoveContainer) String() string {
	return fmt.Sprintf("remove container %s of %s, attempt %d", a.Container, a.Pod, a.Attempt)
}

func (a StopSandbox) String() string {
	if a.Empty {
		return "stop and empty sandbox of " + a.Pod.String()
	}
	return "stop sandbox of " + a.Pod.String()
}

func (a EvictPod) String() string { return "evict " + a.Pod.String() + because(a.Message) }

func (a RemoveSandbox) String() string { return "remove sandbox of " + a.Pod.String() }

func (a ForgetPod) String() string { return "forget " + a.Pod.String() }

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
