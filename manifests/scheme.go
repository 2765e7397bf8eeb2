package manifests

import (
	"fmt"
	"sync"

	kruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	extensionsv1beta1 "k8s.io/kubernetes/pkg/apis/extensions/v1beta1"

	"k8s.io/kubernetes/pkg/apis/apps"
	appsv1 "k8s.io/kubernetes/pkg/apis/apps/v1"
	appsv1beta1 "k8s.io/kubernetes/pkg/apis/apps/v1beta1"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingv1 "k8s.io/kubernetes/pkg/apis/autoscaling/v1"
	autoscalingv2 "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchv1 "k8s.io/kubernetes/pkg/apis/batch/v1"
	"k8s.io/kubernetes/pkg/apis/coordination"
	coordinationv1 "k8s.io/kubernetes/pkg/apis/coordination/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryv1 "k8s.io/kubernetes/pkg/apis/discovery/v1"
	discoveryv1beta1 "k8s.io/kubernetes/pkg/apis/discovery/v1beta1"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingv1 "k8s.io/kubernetes/pkg/apis/networking/v1"
	networkingv1beta1 "k8s.io/kubernetes/pkg/apis/networking/v1beta1"
	nodeapi "k8s.io/kubernetes/pkg/apis/node"
	nodev1 "k8s.io/kubernetes/pkg/apis/node/v1"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyv1 "k8s.io/kubernetes/pkg/apis/policy/v1"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacv1 "k8s.io/kubernetes/pkg/apis/rbac/v1"
	rbacv1alpha1 "k8s.io/kubernetes/pkg/apis/rbac/v1alpha1"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/apis/storage"
	storagev1 "k8s.io/kubernetes/pkg/apis/storage/v1"
	"k8s.io/kubernetes/pkg/capabilities"
)

// Scheme is the scheme that manifests are read with: the kinds a 1.36 API server stores, their internal forms, the removed versions
// that convert to them and are not the same by another name, and the defaults. It is built on first use, shared, and must not be changed.
func Scheme() *kruntime.Scheme { return sharedScheme() }

var sharedScheme = sync.OnceValue(buildScheme) // built once, never at start: building costs about 3 ms

func buildScheme() *kruntime.Scheme {
	capabilities.Setup(true, 0) // as on every cluster: privileged containers are a matter of policy, not of validation
	s := kruntime.NewScheme()
	for i, add := range []func(*kruntime.Scheme) error{
		core.AddToScheme, corev1.AddToScheme,
		apps.AddToScheme, appsv1.AddToScheme, appsv1beta1.AddToScheme, extensionsv1beta1.AddToScheme,
		batch.AddToScheme, batchv1.AddToScheme,
		networking.AddToScheme, networkingv1.AddToScheme, networkingv1beta1.AddToScheme,
		policy.AddToScheme, policyv1.AddToScheme,
		autoscaling.AddToScheme, autoscalingv1.AddToScheme, autoscalingv2.AddToScheme,
		discovery.AddToScheme, discoveryv1.AddToScheme, discoveryv1beta1.AddToScheme,
		storage.AddToScheme, storagev1.AddToScheme,
		rbac.AddToScheme, rbacv1.AddToScheme, rbacv1alpha1.AddToScheme,
		scheduling.AddToScheme, schedulingv1.AddToScheme,
		coordination.AddToScheme, coordinationv1.AddToScheme,
		nodeapi.AddToScheme, nodev1.AddToScheme,
	} {
		if err := add(s); err != nil {
			utilruntime.Must(fmt.Errorf("cannot build the scheme at step %d: %w", i, err))
		}
	}
	return s
}
