package controller

import (
	"strings"
	"time"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// Why a removal waits.
const (
	WaitDelay      = "delay"      // the object vanished a moment ago
	WaitConsent    = "consent"    // most objects vanished at once
	WaitUnreadable = "unreadable" // its file is there and does not state it in words that can be read
)

// Waiting is an object that no snapshot states any more and that is still there.
type Waiting struct {
	Object string `json:"object"` // KIND/NAMESPACE/NAME
	File   string `json:"file,omitempty"`
	Why    string `json:"why"`
	// Until is when it goes without a word; zero when it does not.
	Until time.Time `json:"until,omitzero"`

	key reconcile.Key
}

// Allow consents to removals that wait, and removes at once. Each target is a file, a directory ended by a slash, or an object (KIND/NAME or
// KIND/NAMESPACE/NAME, in any case); without targets everything is meant that waits for consent. What only an unreadable file may still
// state goes when its file or itself is named. It returns the objects that go.
func (c *Controller) Allow(targets ...string) []string {
	in := c.ingest
	in.mu.Lock()
	defer in.mu.Unlock()
	var gone []string
	for _, w := range in.waiting() {
		if w.allowedBy(targets) {
			in.remove(w.key, "its removal was allowed")
			gone = append(gone, w.Object)
		}
	}
	in.arm()
	c.notify.notify()
	return gone
}

func (w *Waiting) allowedBy(targets []string) bool {
	if len(targets) == 0 {
		return w.Why != WaitUnreadable
	}
	for _, t := range targets {
		file := strings.TrimPrefix(t, "./")
		if w.File != "" && file != "/" && under(w.File, file) || sameObject(w.key, t) {
			return true
		}
	}
	return false
}

// sameObject compares a key with KIND/NAME (of any namespace) or KIND/NAMESPACE/NAME.
func sameObject(key reconcile.Key, text string) bool {
	kind := key.Kind
	if kind == reconcile.KindBarePod {
		kind = reconcile.KindPod
	}
	parts := strings.Split(text, "/")
	switch len(parts) {
	case 2:
		return strings.EqualFold(parts[0], kind) && parts[1] == key.Name
	case 3:
		return strings.EqualFold(parts[0], kind) && parts[1] == key.Namespace && parts[2] == key.Name
	}
	return false
}

// waiting lists what is absent and not removed yet, sorted by key.
func (in *ingest) waiting() []Waiting {
	if !in.seen {
		return nil
	}
	var list []Waiting
	for _, it := range in.c.store.List("") {
		if it.Source == nil || in.wishes[it.Key] {
			continue
		}
		list = append(list, in.wait(it))
	}
	return list
}

func (in *ingest) wait(it store.Item) Waiting {
	w := Waiting{Object: stated(it.Key), File: it.Source.Origin.File, key: it.Key}
	since, vanished := in.vanished[it.Key]
	switch {
	case it.Source.Held:
		w.Why = WaitConsent
	case vanished:
		w.Why, w.Until = WaitDelay, since.Add(in.delay)
	default:
		w.Why = WaitUnreadable
	}
	return w
}

// stated is the name of a stated object in the user's words.
func stated(key reconcile.Key) string {
	if key.Kind == reconcile.KindBarePod {
		key.Kind = reconcile.KindPod
	}
	return manifests.Key{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}.String()
}
