package manifests

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/storage"
	storagevalidation "k8s.io/kubernetes/pkg/apis/storage/validation"
)

// ValidateUpdate says what a server has against the change of an object: fields that must not change. Both are as manifests state them. They
// are not changed.
func ValidateUpdate(old, wish Object) field.ErrorList {
	if old.GVK != wish.GVK {
		return field.ErrorList{field.Invalid(field.NewPath("kind"), wish.GVK.Kind, "field is immutable")}
	}
	var both [2]kruntime.Object
	for i, o := range []Object{old, wish} {
		internal, err := Scheme().ConvertToVersion(o.Object.DeepCopyObject(), schema.GroupVersion{Group: o.GVK.Group, Version: kruntime.APIVersionInternal})
		if err != nil {
			return field.ErrorList{field.InternalError(nil, fmt.Errorf("cannot convert %s: %w", o.Key, err))}
		}
		if acc, err := meta.Accessor(internal); err == nil {
			acc.SetResourceVersion("1") // the server has compared them
			acc.SetUID("1")
			acc.SetCreationTimestamp(metav1.Time{})
		}
		both[i] = internal
	}
	return admitUpdate(both[0], both[1])
}

func admitUpdate(was, is kruntime.Object) field.ErrorList {
	switch o := is.(type) {
	case *apps.Deployment:
		old, _ := was.(*apps.Deployment)
		errs := appsvalidation.ValidateDeploymentUpdate(o, old, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, &old.Spec.Template))
		return append(errs, corevalidation.ValidateImmutableField(o.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
	case *apps.ReplicaSet:
		old, _ := was.(*apps.ReplicaSet)
		errs := appsvalidation.ValidateReplicaSetUpdate(o, old, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, &old.Spec.Template))
		return append(errs, corevalidation.ValidateImmutableField(o.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
	case *apps.StatefulSet:
		old, _ := was.(*apps.StatefulSet)
		return appsvalidation.ValidateStatefulSetUpdate(o, old, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, &old.Spec.Template))
	case *apps.DaemonSet:
		old, _ := was.(*apps.DaemonSet)
		o.Spec.TemplateGeneration, old.Spec.TemplateGeneration = 1, 1 // counted by the server
		errs := appsvalidation.ValidateDaemonSetUpdate(o, old, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, &old.Spec.Template))
		errs = append(errs, corevalidation.ValidateImmutableField(o.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
		return withoutField(errs, "spec.templateGeneration")
	case *batch.Job:
		old, _ := was.(*batch.Job)
		o.Spec.Selector, old.Spec.Selector = &metav1.LabelSelector{}, &metav1.LabelSelector{} // the server's, but where it says otherwise
		errs := corevalidation.ValidateObjectMetaUpdate(&o.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
		return append(errs, batchvalidation.ValidateJobSpecUpdate(o.Spec, old.Spec, field.NewPath("spec"), batchvalidation.JobValidationOptions{
			PodValidationOptions: pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, &old.Spec.Template),
		})...)
	case *core.Pod:
		old, _ := was.(*core.Pod)
		opts := pod.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, &old.Spec, &o.ObjectMeta, &old.ObjectMeta)
		opts.ResourceIsPod = true
		followImages(old.Spec.InitContainers, o.Spec.InitContainers)
		followImages(old.Spec.Containers, o.Spec.Containers)
		return corevalidation.ValidatePodUpdate(o, old, opts)
	}
	return admitSimpleUpdate(was, is)
}

// followImages lets the pull policy change with the image: a file that states none has the one that its image's tag leads to, and what is
// compared here is what files say, not what a server has kept of the first.
func followImages(old, wish []core.Container) {
	for i := range min(len(old), len(wish)) {
		if old[i].Name == wish[i].Name && old[i].Image != wish[i].Image {
			old[i].ImagePullPolicy = wish[i].ImagePullPolicy
		}
	}
}

func admitSimpleUpdate(was, is kruntime.Object) field.ErrorList {
	switch o := is.(type) {
	case *core.Service:
		old, _ := was.(*core.Service)
		allocateHealthCheck(o, old)
		return corevalidation.ValidateServiceUpdate(o, old)
	case *core.ConfigMap:
		old, _ := was.(*core.ConfigMap)
		return corevalidation.ValidateConfigMapUpdate(o, old)
	case *core.Secret:
		old, _ := was.(*core.Secret)
		return corevalidation.ValidateSecretUpdate(o, old)
	case *core.PersistentVolumeClaim:
		old, _ := was.(*core.PersistentVolumeClaim)
		return corevalidation.ValidatePersistentVolumeClaimUpdate(o, old, corevalidation.ValidationOptionsForPersistentVolumeClaim(o, old))
	case *core.PersistentVolume:
		old, _ := was.(*core.PersistentVolume)
		return corevalidation.ValidatePersistentVolumeUpdate(o, old, corevalidation.ValidationOptionsForPersistentVolume(o, old))
	case *networking.Ingress:
		old, _ := was.(*networking.Ingress)
		return networkingvalidation.ValidateIngressUpdate(o, old)
	case *storage.StorageClass:
		old, _ := was.(*storage.StorageClass)
		return storagevalidation.ValidateStorageClassUpdate(o, old)
	}
	return nil
}

func withoutField(errs field.ErrorList, path string) field.ErrorList {
	var out field.ErrorList
	for _, e := range errs {
		if e.Field != path {
			out = append(out, e)
		}
	}
	return out
}
