package controller

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/claim"
)

// immutableStorage names the field of a claim or volume that differs and must not. What berth has written into the stored one is no difference.
func immutableStorage(old, n store.Object) string {
	switch o := old.(type) {
	case *corev1.PersistentVolumeClaim:
		if pvc, ok := n.(*corev1.PersistentVolumeClaim); ok {
			return immutableClaim(&o.Spec, pvc.Spec.DeepCopy())
		}
	case *corev1.PersistentVolume:
		if v, ok := n.(*corev1.PersistentVolume); ok {
			switch {
			case !apiequality.Semantic.DeepEqual(o.Spec.PersistentVolumeSource, v.Spec.PersistentVolumeSource):
				return "spec.persistentvolumesource"
			case !apiequality.Semantic.DeepEqual(o.Spec.VolumeMode, v.Spec.VolumeMode):
				return "spec.volumeMode"
			case o.Spec.NodeAffinity != nil && !apiequality.Semantic.DeepEqual(o.Spec.NodeAffinity, v.Spec.NodeAffinity):
				return "spec.nodeAffinity"
			}
		}
	}
	return ""
}

// immutableClaim compares specs of claims. A claim may ask for more, and name a volume or a class while it has none.
func immutableClaim(old, n *corev1.PersistentVolumeClaimSpec) string {
	if n.VolumeName == "" || old.VolumeName == "" {
		n.VolumeName = old.VolumeName
	}
	if n.StorageClassName == nil || old.StorageClassName == nil && old.VolumeName == "" {
		n.StorageClassName = old.StorageClassName
	}
	has, wants := old.Resources.Requests[corev1.ResourceStorage], n.Resources.Requests[corev1.ResourceStorage]
	for _, f := range []struct {
		name string
		same bool
	}{
		{"spec.resources.requests.storage", has.Cmp(wants) <= 0},
		{"spec.accessModes", apiequality.Semantic.DeepEqual(old.AccessModes, n.AccessModes)},
		{"spec.storageClassName", apiequality.Semantic.DeepEqual(old.StorageClassName, n.StorageClassName)},
		{"spec.volumeName", old.VolumeName == n.VolumeName},
		{"spec.volumeMode", apiequality.Semantic.DeepEqual(old.VolumeMode, n.VolumeMode)},
		{"spec.selector", apiequality.Semantic.DeepEqual(old.Selector, n.Selector)},
		{"spec.dataSource", apiequality.Semantic.DeepEqual(old.DataSource, n.DataSource)},
		{"spec.dataSourceRef", apiequality.Semantic.DeepEqual(old.DataSourceRef, n.DataSourceRef)},
	} {
		if !f.same {
			return f.name
		}
	}
	return ""
}

// withBinding is the new version of a claim or volume with the binding of the old one. n is nobody's yet, and is changed.
func withBinding(n, old store.Object) store.Object {
	switch o := old.(type) {
	case *corev1.PersistentVolumeClaim:
		pvc, ok := n.(*corev1.PersistentVolumeClaim)
		if !ok {
			return n
		}
		if pvc.Spec.VolumeName == "" {
			pvc.Spec.VolumeName = o.Spec.VolumeName
		}
		if pvc.Spec.StorageClassName == nil {
			pvc.Spec.StorageClassName = o.Spec.StorageClassName
		}
		keepAnnotations(&pvc.ObjectMeta, o.Annotations, claim.AnnotationBindCompleted, claim.AnnotationBoundByController)
	case *corev1.PersistentVolume:
		v, ok := n.(*corev1.PersistentVolume)
		if !ok || o.Spec.ClaimRef == nil {
			return n
		}
		if ref := v.Spec.ClaimRef; ref == nil || ref.UID == "" && ref.Namespace == o.Spec.ClaimRef.Namespace && ref.Name == o.Spec.ClaimRef.Name {
			v.Spec.ClaimRef = o.Spec.ClaimRef
			keepAnnotations(&v.ObjectMeta, o.Annotations, claim.AnnotationBoundByController)
		}
	}
	return n
}

// bindingOf is a copy of what a file states with the binding of the stored object: that is no difference.
func bindingOf(obj, old store.Object) store.Object {
	if !protected(reconcile.KeyOf(old).Kind) {
		return obj
	}
	n, ok := obj.DeepCopyObject().(store.Object)
	if !ok {
		return obj
	}
	return withBinding(n, old)
}

func keepAnnotations(meta *metav1.ObjectMeta, old map[string]string, names ...string) {
	for _, name := range names {
		if value, ok := old[name]; ok {
			metav1.SetMetaDataAnnotation(meta, name, value)
		}
	}
}
