package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"berth/reconcile"
)

// Annotations.
const (
	// AnnotationRecord is on ReplicaSets and ControllerRevisions: the Fingerprint, as String writes it, that their pods were made for.
	AnnotationRecord = reconcile.AnnotationPrefix + "config"
	// AnnotationRollout is on workloads: "false" keeps them from being rolled out when what they use changes.
	AnnotationRollout = reconcile.AnnotationPrefix + "rollout-on-config"
)

// absent stands for the content of an optional object that does not exist.
const absent = "absent"

// Fingerprint says, by object, what its content was: a hash, or "absent" for an optional one that did not exist. What is missing, an object or
// one of its keys that the pod cannot do without, has no entry and says nothing. Nil says nothing at all.
type Fingerprint map[Object]string

// Take is the fingerprint of what is referenced as it is now.
func Take(refs []Reference, contents Contents) Fingerprint {
	f := make(Fingerprint, len(refs))
	for i := range refs {
		if hash, known := refs[i].hash(contents[refs[i].Object()]); known {
			f[refs[i].Object()] = hash
		}
	}
	return f
}

func (r *Reference) hash(c *Content) (hash string, known bool) {
	if c == nil {
		return absent, r.Optional
	}
	h := sha256.New()
	add := func(key string) { _, _ = fmt.Fprintf(h, "%q %s\n", key, c.Hash(key)) }
	for _, k := range r.Keys {
		if c.Hash(k.Name) == "" && !k.Optional {
			return "", false
		}
		add(k.Name)
	}
	if r.All {
		for _, key := range c.Files() {
			add(key)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), true // short: it tells versions of one object apart
}

// RollsOut tells whether a workload with these annotations follows changes of what it uses.
func RollsOut(annotations map[string]string) bool {
	wanted, err := strconv.ParseBool(annotations[AnnotationRollout])
	return err != nil || wanted
}

// Matches tells whether pods made for what is recorded have what is current: whether the two agree on every object that both know.
func Matches(recorded, current Fingerprint) bool {
	for o, hash := range recorded {
		if now, known := current[o]; known && now != hash {
			return false
		}
	}
	return true
}

// Merge adds to a record what only the current fingerprint knows: an object that came after the pods that wait for it. It returns recorded
// itself when there is nothing to add.
func Merge(recorded, current Fingerprint) Fingerprint {
	merged := recorded
	for o, hash := range current {
		if _, known := merged[o]; known {
			continue
		}
		if len(merged) == len(recorded) {
			merged = make(Fingerprint, len(recorded)+len(current))
			maps.Copy(merged, recorded)
		}
		merged[o] = hash
	}
	return merged
}

// String is the form in which a fingerprint is recorded: the same for the same, "" for one that says nothing.
func (f Fingerprint) String() string {
	if len(f) == 0 {
		return ""
	}
	data, err := json.Marshal(map[Object]string(f)) // sorts its keys
	if err != nil {
		return "" // strings always marshal
	}
	return string(data)
}

// Parse reads what String has written. What it cannot read says nothing.
func Parse(s string) Fingerprint {
	var f map[Object]string
	if s == "" || json.Unmarshal([]byte(s), &f) != nil {
		return nil
	}
	return f
}

// MarshalText is String.
func (o Object) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (o *Object) UnmarshalText(text []byte) error {
	kind, name, _ := strings.Cut(string(text), "/")
	*o = Object{kind, name}
	return nil
}
