package replicaset

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// alphabet is that of Kubernetes' generated names: no vowels and no look-alikes, so that no words come about.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

// suffixLength is the number of random characters of a pod's name; baseLength leaves room for them in a host name of 63.
const (
	suffixLength = 5
	baseLength   = 63 - suffixLength
)

// newPod makes a pod of the template. The executor adds its UID.
func newPod(rs *appsv1.ReplicaSet, name string, now time.Time) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPod},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, GenerateName: rs.Name + "-", Namespace: rs.Namespace,
			Labels:            t.Labels,
			Annotations:       maps.Clone(t.Annotations),
			CreationTimestamp: metav1.NewTime(now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind(reconcile.KindReplicaSet))},
		},
		Spec:   t.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

// names gives pod names that no owned pod has, also none that is ending.
type names struct {
	base  string
	uid   string
	nonce uint64
	index uint64
	taken []string
}

func newNames(in Input) *names {
	base := in.ReplicaSet.Name + "-"
	if len(base) > baseLength {
		base = strings.TrimRight(base[:baseLength-1], "-.") + "-"
	}
	n := &names{base: base, uid: string(in.ReplicaSet.UID), nonce: in.Nonce}
	for _, p := range in.Pods {
		n.taken = append(n.taken, p.Name)
	}
	return n
}

func (n *names) next() string {
	for {
		name := n.base + suffix(n.uid, n.nonce, n.index)
		n.index++
		if !slices.Contains(n.taken, name) {
			n.taken = append(n.taken, name)
			return name
		}
	}
}

func suffix(uid string, nonce, index uint64) string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], nonce)
	binary.LittleEndian.PutUint64(b[8:], index)
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid)) // never fails
	_, _ = h.Write(b[:])
	sum := mix(h.Sum64())
	var out [suffixLength]byte
	for i := range out {
		out[i] = alphabet[sum%uint64(len(alphabet))]
		sum /= uint64(len(alphabet))
	}
	return string(out[:])
}

// mix spreads the last bytes' difference over the whole number, which FNV alone does not do.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
