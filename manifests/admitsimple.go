package manifests

import (
	"cmp"

	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	pvutil "k8s.io/kubernetes/pkg/api/persistentvolume"
	pvcutil "k8s.io/kubernetes/pkg/api/persistentvolumeclaim"
	apiservice "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/coordination"
	coordinationvalidation "k8s.io/kubernetes/pkg/apis/coordination/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryvalidation "k8s.io/kubernetes/pkg/apis/discovery/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	nodeapi "k8s.io/kubernetes/pkg/apis/node"
	nodevalidation "k8s.io/kubernetes/pkg/apis/node/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacvalidation "k8s.io/kubernetes/pkg/apis/rbac/validation"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingvalidation "k8s.io/kubernetes/pkg/apis/scheduling/validation"
	"k8s.io/kubernetes/pkg/apis/storage"
	storagevalidation "k8s.io/kubernetes/pkg/apis/storage/validation"
)

// admitSimple validates the kinds without pods.
func admitSimple(obj kruntime.Object) field.ErrorList {
	switch o := obj.(type) {
	case *core.Service:
		return admitService(o)
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o)
	case *core.Secret:
		return corevalidation.ValidateSecret(o)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o)
	case *core.Namespace:
		return corevalidation.ValidateNamespace(o)
	case *core.Endpoints:
		return corevalidation.ValidateEndpointsCreate(o)
	case *core.LimitRange:
		return corevalidation.ValidateLimitRange(o)
	case *core.ResourceQuota:
		o.Status = core.ResourceQuotaStatus{}
		return corevalidation.ValidateResourceQuota(o)
	case *core.Node:
		return corevalidation.ValidateNode(o)
	case *core.PersistentVolume:
		o.Status = core.PersistentVolumeStatus{Phase: core.VolumePending}
		pvutil.DropDisabledSpecFields(&o.Spec, nil)
		return corevalidation.ValidatePersistentVolume(o, corevalidation.ValidationOptionsForPersistentVolume(o, nil))
	case *core.PersistentVolumeClaim:
		o.Status = core.PersistentVolumeClaimStatus{}
		pvcutil.DropDisabledFields(&o.Spec, nil)
		pvcutil.EnforceDataSourceBackwardsCompatibility(&o.Spec, nil)
		pvcutil.NormalizeDataSources(&o.Spec)
		return corevalidation.ValidatePersistentVolumeClaim(o, corevalidation.ValidationOptionsForPersistentVolumeClaim(o, nil))
	case *autoscaling.HorizontalPodAutoscaler:
		return admitAutoscaler(o)
	case *discovery.EndpointSlice:
		return discoveryvalidation.ValidateEndpointSliceCreate(o)
	case *coordination.Lease:
		return coordinationvalidation.ValidateLease(o)
	case *nodeapi.RuntimeClass:
		return nodevalidation.ValidateRuntimeClass(o)
	case *scheduling.PriorityClass:
		return schedulingvalidation.ValidatePriorityClass(o)
	case *policy.PodDisruptionBudget:
		o.Status = policy.PodDisruptionBudgetStatus{}
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	}
	return admitGroups(obj)
}

func admitGroups(obj kruntime.Object) field.ErrorList {
	switch o := obj.(type) {
	case *networking.Ingress:
		o.Status = networking.IngressStatus{}
		return networkingvalidation.ValidateIngressCreate(o)
	case *networking.IngressClass:
		return networkingvalidation.ValidateIngressClass(o)
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.ValidationOptionsForNetworking(o, nil))
	case *networking.IPAddress:
		return networkingvalidation.ValidateIPAddress(o)
	case *networking.ServiceCIDR:
		return networkingvalidation.ValidateServiceCIDR(o)
	case *rbac.Role:
		return rbacvalidation.ValidateRole(o)
	case *rbac.RoleBinding:
		return rbacvalidation.ValidateRoleBinding(o)
	case *rbac.ClusterRole:
		return rbacvalidation.ValidateClusterRole(o, rbacvalidation.ClusterRoleValidationOptions{})
	case *rbac.ClusterRoleBinding:
		return rbacvalidation.ValidateClusterRoleBinding(o)
	case *storage.StorageClass:
		return storagevalidation.ValidateStorageClass(o)
	case *storage.CSIDriver:
		return storagevalidation.ValidateCSIDriver(o)
	case *storage.CSINode:
		return storagevalidation.ValidateCSINode(o)
	case *storage.CSIStorageCapacity:
		return storagevalidation.ValidateCSIStorageCapacity(o, storagevalidation.CSIStorageCapacityValidateOptions{})
	case *storage.VolumeAttachment:
		o.Status = storage.VolumeAttachmentStatus{}
		return storagevalidation.ValidateVolumeAttachment(o)
	case *storage.VolumeAttributesClass:
		return storagevalidation.ValidateVolumeAttributesClass(o)
	}
	return nil
}

func admitAutoscaler(o *autoscaling.HorizontalPodAutoscaler) field.ErrorList {
	o.Status = autoscaling.HorizontalPodAutoscalerStatus{}
	return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{
		MinReplicasLowerBound: 1,
		ScaleTargetRefValidationOptions: autoscalingvalidation.CrossVersionObjectReferenceValidationOptions{
			AllowEmptyAPIGroup: o.Spec.ScaleTargetRef.Kind == "ReplicationController",
		},
		ObjectMetricsValidationOptions: autoscalingvalidation.CrossVersionObjectReferenceValidationOptions{AllowEmptyAPIGroup: true},
	})
}

// The range a server allocates node ports from when nobody configured another.
const firstNodePort, lastNodePort = 30000, 32767

// admitService adds to the validation what a server refuses while it allocates ports. Which families there are only the machine knows.
func admitService(o *core.Service) field.ErrorList {
	o.Status = core.ServiceStatus{}
	if len(o.Spec.ClusterIPs) == 0 && o.Spec.ClusterIP != "" {
		o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
	}
	allocateHealthCheck(o, &core.Service{})
	errs := corevalidation.ValidateServiceCreate(o)
	for i := range o.Spec.Ports {
		if p := o.Spec.Ports[i].NodePort; p != 0 && (p < firstNodePort || p > lastNodePort) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p,
				"provided port is not in the valid range. The range of valid ports is 30000-32767"))
		}
	}
	return errs
}

// allocateHealthCheck gives both versions of a Service the port for health checks that a server gives one which has to have it and states none.
func allocateHealthCheck(o, old *core.Service) {
	is, was := &o.Spec.HealthCheckNodePort, &old.Spec.HealthCheckNodePort
	if *is == 0 && apiservice.NeedsHealthCheck(o) {
		*is = cmp.Or(*was, firstNodePort)
	}
	if *was == 0 && apiservice.NeedsHealthCheck(old) {
		*was = cmp.Or(*is, firstNodePort)
	}
}
