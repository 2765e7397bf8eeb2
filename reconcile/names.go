package reconcile

import (
	"encoding/binary"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// alphabet is that of Kubernetes' generated names: no vowels and no look-alikes, so that no words come about.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

// suffixLength is the number of random characters of a pod's name; baseLength leaves room for them in a host name of 63.
const (
	suffixLength = 5
	baseLength   = 63 - suffixLength
)

// Names gives names to new pods of one owner, none of which an existing pod has.
type Names struct {
	uid   types.UID
	nonce uint64
	index uint64
	taken map[string]bool
}

// NewNames returns the names of one pass: the same nonce gives the same names, a fresh one fresh names. pods are those of the owner,
// the ones that are ending included.
func NewNames(owner types.UID, nonce uint64, pods []*corev1.Pod) *Names {
	n := &Names{uid: owner, nonce: nonce, taken: make(map[string]bool, len(pods))}
	for _, p := range pods {
		n.taken[p.Name] = true
	}
	return n
}

// Next returns a name that begins with prefix, a part of it when it is too long. infix ends the prefix and is never cut: "-", or "-INDEX-".
func (n *Names) Next(prefix, infix string) string {
	base := prefix + infix
	if len(base) > baseLength {
		base = strings.TrimRight(prefix[:max(1, baseLength-len(infix))], "-.") + infix
	}
	for {
		name := base + suffix(string(n.uid), n.nonce, n.index)
		n.index++
		if !n.taken[name] {
			n.taken[name] = true
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
