package controller

import (
	"bytes"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// frozenConfigMap names the field of an immutable ConfigMap that differs.
func frozenConfigMap(old, n *corev1.ConfigMap) string {
	switch {
	case old.Immutable == nil || !*old.Immutable:
		return ""
	case n.Immutable == nil || !*n.Immutable:
		return "immutable"
	case !maps.Equal(old.Data, n.Data):
		return "data"
	case !maps.EqualFunc(old.BinaryData, n.BinaryData, bytes.Equal):
		return "binaryData"
	}
	return ""
}

// frozenSecret names the field of a Secret that differs and must not: its type never changes.
func frozenSecret(old, n *corev1.Secret) string {
	switch {
	case old.Type != n.Type:
		return "type"
	case old.Immutable == nil || !*old.Immutable:
		return ""
	case n.Immutable == nil || !*n.Immutable:
		return "immutable"
	case !maps.EqualFunc(old.Data, n.Data, bytes.Equal):
		return "data"
	}
	return ""
}
