// Package reconcile decides. Its packages compare what is wished with what is, and return plans: pure functions of plain data, without
// input or output, clock, log or randomness. The controller gathers the input, executes the plan, and comes again.
package reconcile

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"berth/runtime"
)

// Kinds that the planners know. BarePod is a Pod stated by a file: the wish, of which at most one Pod exists at a time.
const (
	KindDeployment            = "Deployment"
	KindReplicaSet            = "ReplicaSet"
	KindReplicationController = "ReplicationController"
	KindStatefulSet           = "StatefulSet"
	KindDaemonSet             = "DaemonSet"
	KindJob                   = "Job"
	KindCronJob               = "CronJob"
	KindPod                   = "Pod"
	KindBarePod               = "BarePod"
)

// Kinds that planners use and make.
const (
	KindConfigMap             = "ConfigMap"
	KindSecret                = "Secret"
	KindControllerRevision    = "ControllerRevision"
	KindPersistentVolume      = "PersistentVolume"
	KindPersistentVolumeClaim = "PersistentVolumeClaim"
	KindStorageClass          = "StorageClass"
	KindService               = "Service"
	KindEndpoints             = "Endpoints"
	KindEndpointSlice         = "EndpointSlice"
	KindIngress               = "Ingress"
	KindIngressClass          = "IngressClass"
	KindNetworkPolicy         = "NetworkPolicy"
	KindNamespace             = "Namespace"
	KindServiceAccount        = "ServiceAccount"
	KindNode                  = "Node"
	KindPodDisruptionBudget   = "PodDisruptionBudget"
	KindAutoscaler            = "HorizontalPodAutoscaler"
	KindEvent                 = "Event"
)

// Annotations and labels with a meaning of berth's own.
const (
	AnnotationPrefix = "berth.dev/"
	// AnnotationWish is on Pods made for a BarePod: the hash of the spec that the file stated.
	AnnotationWish = AnnotationPrefix + "wish"
	// AnnotationMade is on Namespaces that are kept for what is in them, and go by themselves.
	AnnotationMade = AnnotationPrefix + "made"
	// AnnotationRecord is a part of a status that Kubernetes has no field for: UpdateStatus takes it together with the status.
	AnnotationRecord = AnnotationPrefix + "record"
)

// Key names an object. It says nothing about what happened to it.
type Key struct {
	Kind, Namespace, Name string
}

// String is KIND/NAMESPACE/NAME.
func (k Key) String() string { return k.Kind + "/" + k.Namespace + "/" + k.Name }

// Plan is what a planner wants done, in order, and when it wants to look again if nothing happens before. Zero means never.
type Plan struct {
	Actions      []Action
	RequeueAfter time.Duration
}

// Action is one step of a plan: a whole intention, by name. It prints as one line for dry runs, logs and events.
//
//sumtype:decl
type Action interface {
	fmt.Stringer
	isAction()
}

// Actions above pods. They change the store.
type (
	// UpdateReplicaSet changes a revision's size and annotations; the rest of Spec stays as it is in the store.
	UpdateReplicaSet struct {
		Key         Key
		UID         types.UID
		Replicas    int32
		Annotations map[string]string // the whole new set
		// MinReadySeconds follows the Deployment's.
		MinReadySeconds int32
		Reason          string
	}
	// CreatePod makes a Pod. The executor gives it its UID. Creating what exists under the same owner is not an error.
	CreatePod struct {
		Pod *corev1.Pod
	}
	// DeletePod begins a Pod's graceful end: it sets deletionTimestamp and deletionGracePeriodSeconds. On a Pod that is ending it can only shorten the rest.
	// As in Kubernetes, deletionTimestamp is the moment the grace ends (now + grace), not the moment of the request.
	DeletePod struct {
		Key    Key
		UID    types.UID
		Grace  *int64 // seconds; nil means the pod's own
		Reason string
	}
	// UpdateStatus replaces the status of an object. Object is a whole copy; only its status and AnnotationRecord are taken.
	UpdateStatus struct{ Object kruntime.Object }
	// SetAnnotation sets one annotation of an object, or removes it. Where it is not Old any more nothing is changed: somebody was quicker.
	SetAnnotation struct {
		Key      Key
		UID      types.UID
		Name     string
		Old, New string // "" for none
	}
	// Scale gives a workload another number of replicas than its file states, for an autoscaler, until that lets go of it.
	Scale struct {
		Key Key
		UID types.UID
		By  string // name of the HorizontalPodAutoscaler
		// Replicas is nil to let go: the file's number counts again.
		Replicas *int32
	}
	// RecordEvent tells the user something about an object.
	RecordEvent struct {
		Key     Key
		UID     types.UID
		Warning bool
		Routine bool   // a step that every pod takes: told when there is time for it, and not where space is short
		Reason  string // CamelCase, as Kubernetes names it
		Message string
	}
)

// Actions of pods. They change the machine.
type (
	// PullImage asks for an image; it returns at once. Refs being pulled already are left alone.
	PullImage struct {
		Pod Key
		Ref string
		// Always asks the registry even when an image is present.
		Always bool
		// Secrets names imagePullSecrets of the pod's namespace.
		Secrets []string
	}
	// RunSandbox makes the pod's sandbox.
	RunSandbox struct {
		Pod    Key
		Config runtime.SandboxConfig
	}
	// UpdateFiles replaces the content of volumes under the running containers.
	UpdateFiles struct {
		Pod     Key
		UID     types.UID
		Volumes []runtime.Volume // of Files
	}
	// StartContainer starts one attempt of a container.
	StartContainer struct {
		Pod    Key
		UID    types.UID
		Config runtime.ContainerConfig
	}
	// SignalContainer asks a container to end.
	SignalContainer struct {
		Pod       Key
		UID       types.UID
		Container string
		Attempt   uint32
		Signal    int
		Reason    string
	}
	// KillContainer ends a container's processes at once.
	KillContainer struct {
		Pod       Key
		UID       types.UID
		Container string
		Reason    string
	}
	// RemoveContainer drops an ended attempt.
	RemoveContainer struct {
		Pod       Key
		UID       types.UID
		Container string
		Attempt   uint32
	}
	// StopSandbox gives back what the sandbox of a Pod that has ended has of the machine. What is known of its containers stays, with their logs.
	StopSandbox struct {
		Pod Key
		UID types.UID
		// Empty gives back the disk as well: writable layers and emptyDirs.
		Empty bool
	}
	// EvictPod decides that a Pod ends for what it does to the machine, and remembers it for as long as the Pod exists.
	EvictPod struct {
		Pod     Key
		UID     types.UID
		Message string // of its status
	}
	// RemoveSandbox takes down everything of the pod on the machine.
	RemoveSandbox struct {
		Pod Key
		UID types.UID
	}
	// ForgetPod removes a Pod whose sandbox is gone from the store.
	ForgetPod struct {
		Pod Key
		UID types.UID
	}
)

func (UpdateReplicaSet) isAction() {}
func (CreatePod) isAction()        {}
func (DeletePod) isAction()        {}
func (UpdateStatus) isAction()     {}
func (SetAnnotation) isAction()    {}
func (Scale) isAction()            {}
func (RecordEvent) isAction()      {}
func (PullImage) isAction()        {}
func (RunSandbox) isAction()       {}
func (UpdateFiles) isAction()      {}
func (StartContainer) isAction()   {}
func (SignalContainer) isAction()  {}
func (KillContainer) isAction()    {}
func (RemoveContainer) isAction()  {}
func (StopSandbox) isAction()      {}
func (EvictPod) isAction()         {}
func (RemoveSandbox) isAction()    {}
func (ForgetPod) isAction()        {}

// ImageState is what the controller knows of one image reference.
type ImageState struct {
	// Image is set when it is present.
	Image *runtime.Image
	// Pulling is true while a pull is under way.
	Pulling bool
	// PulledAt is when a pull last succeeded in this run of the controller; zero if never. Policy Always wants one after the pod was created.
	PulledAt time.Time
	// Failures counts the failed pulls since the last success; LastFailure is when, LastError why, and Unauthorized and DiskFull tell two causes apart.
	Failures    int
	LastFailure time.Time
	LastError   string
	// Invalid says why no image can have this name; "" when one can.
	Invalid string
}

// PodMemory is what the controller remembers of its own deeds for one pod, by UID, in memory only. Losing it costs one more
// signal or one earlier retry, never correctness. The zero value is right for a pod nothing was done for yet.
type PodMemory struct {
	// Failed holds, by container name, the last start that failed and left nothing on the machine. The executor sets it when
	// StartContainer returns an error, and deletes the entry when a start succeeds.
	Failed map[string]StartFailure
	// Signalled holds, by container name, the stop signal that was last sent. The executor sets it when a SignalContainer action has been
	// carried out.
	Signalled map[string]Signalled
	// Hooks holds the hooks that were last begun. The executor sets them when a RunHook action is carried out, and when a hook has come to its
	// end. A PostStart that an earlier controller has seen done is among them.
	Hooks map[HookID]HookRun
	// Sandbox holds the failures of RunSandbox since the last success. The executor sets it.
	Sandbox SandboxFailure
}

// SandboxFailure is a sandbox that could not be made, Failures times in a row; the last time at At.
type SandboxFailure struct {
	Failures int
	Message  string
	At       time.Time
}

// StartFailure is a start that failed. Attempt, Backoff and SpecHash are those of its ContainerConfig.
type StartFailure struct {
	Attempt  uint32
	Backoff  time.Duration
	SpecHash string
	// Reason is that of the *runtime.StartError, or runtime.ReasonCreateError for any other error.
	Reason, Message string
	At              time.Time
}
