package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"berth/controller/store"
)

const (
	// watchLasts is how long a watch lasts that states no end: clients come again, and what is forgotten by both sides goes.
	watchLasts = time.Hour
	// writePatience is how long a client may take to accept what it watches.
	writePatience = 30 * time.Second
)

// watching is one watch under way.
type watching struct {
	s       *Server
	r       *Request
	o       *listOptions
	w       http.ResponseWriter
	form    form
	tabler  *tabler
	columns bool   // have been sent
	version uint64 // of what was sent last
}

func (s *Server) watch(w http.ResponseWriter, r *Request) error {
	f, err := negotiate(r.Header.Get("Accept"), transformable)
	if err != nil {
		return err
	}
	if f.yaml {
		return errNotAcceptable(jsonType + ";stream=watch")
	}
	o, err := parseListOptions(r)
	if err != nil {
		return err
	}
	if now := s.opts.Store.Version(); o.version > now {
		return errTooLarge(o.version, now)
	}
	if o.timeout == 0 {
		o.timeout = watchLasts
	}
	t := &watching{s: s, r: r, o: o, w: w, form: f, version: o.version}
	if f.as == "Table" {
		t.tabler = s.newTabler(r)
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusOK)
	t.run() // what goes wrong from here on is that the client went away, or is told to it
	return nil
}

// run sends until the client goes, or its time is over.
func (t *watching) run() {
	end := t.s.opts.Clock.NewTimer(t.o.timeout)
	defer end.Stop()
	ctx := t.r.Context()
	if t.o.initial && !t.begin() || !t.flush() {
		return
	}
	due := false // a bookmark
	for {
		list, upTo, changed, ok := t.s.history.since(t.r.Resource.Kind, t.version)
		if !ok {
			t.expired()
			return
		}
		for _, e := range list {
			if !t.send(e) {
				return
			}
		}
		t.version = max(t.version, upTo)
		if due && !t.bookmark(nil) || (due || len(list) > 0) && !t.flush() {
			return
		}
		due = false
		var mark <-chan struct{}
		if t.o.bookmarks {
			mark = t.s.history.mark()
		}
		select {
		case <-changed:
		case <-mark:
			due = true
		case <-end.C():
			if t.o.bookmarks && t.bookmark(nil) {
				t.flush()
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// begin sends everything there is.
func (t *watching) begin() bool {
	items, version := t.s.opts.Store.ListAt(t.r.Resource.Kind)
	for i := range items {
		if t.o.matches(items[i].Object) && !t.write(watch.Added, nil, items[i].Object) {
			return false
		}
	}
	t.version = version
	if !t.o.told {
		return true
	}
	return t.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
}

// send tells a change as the filter sees it: what comes to match is added, what ceases to match is deleted.
func (t *watching) send(e *entry) bool {
	before, after := t.o.matches(e.Old), t.o.matches(e.New)
	switch {
	case after && before:
		return t.write(watch.Modified, e, e.New)
	case after:
		return t.write(watch.Added, e, e.New)
	case before:
		return t.write(watch.Deleted, e, withVersion(e.Old, e.Version))
	}
	return true
}

// withVersion is an object as it was, at a later version.
func withVersion(obj store.Object, version uint64) store.Object {
	n := shallow(obj)
	n.SetResourceVersion(strconv.FormatUint(version, 10))
	return n
}

func (t *watching) write(kind watch.EventType, e *entry, obj store.Object) bool {
	text, err := t.line(kind, e, obj)
	if err != nil {
		t.s.opts.Log.Error(err, "cannot tell a change")
		status := StatusOf(err)
		data, _ := json.Marshal(status) //nolint:errchkjson // a struct of strings and numbers
		text = frame(watch.Error, data)
	}
	return t.tell(text)
}

func frame(kind watch.EventType, object []byte) []byte {
	return fmt.Appendf(make([]byte, 0, len(object)+40), "{\"type\":%q,\"object\":%s}\n", kind, object)
}

// tell sends a line as one write: in parts it would be as many frames.
func (t *watching) tell(text []byte) bool {
	_ = http.NewResponseController(t.w).SetWriteDeadline(t.s.opts.Clock.Now().Add(writePatience)) // tests write to memory
	_, err := t.w.Write(text)
	return err == nil
}

func (t *watching) flush() bool {
	c := http.NewResponseController(t.w)
	if err := c.Flush(); err != nil {
		return false
	}
	_ = c.SetWriteDeadline(time.Time{}) // as above
	return true
}

// line is what is sent of a change. Of one that everybody sees alike it is made once. Two resources show one kind: then each makes its own.
func (t *watching) line(kind watch.EventType, e *entry, obj store.Object) ([]byte, error) {
	shared := t.form.as == "" && e != nil && (kind != watch.Deleted || e.New == nil) && !t.s.registry.several[t.r.Resource.Kind]
	if shared {
		if l := e.wire.Load(); l != nil && l.kind == kind {
			return l.text, nil
		}
	}
	shown, err := t.shown(obj)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s %s: %w", t.r.Resource.Kind, obj.GetName(), err)
	}
	l := &line{kind, frame(kind, data)}
	if shared {
		e.wire.Store(l)
	}
	return l.text, nil
}

// shown is an object in the form that is watched.
func (t *watching) shown(obj store.Object) (any, error) {
	switch t.form.as {
	case "Table":
		table, err := t.tabler.table(obj, !t.columns)
		t.columns = t.columns || err == nil
		return table, err
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return partial(obj, t.form.version), nil
	}
	return Typed(t.r.Resource, obj)
}

// bookmark tells the version up to which the client knows everything.
func (t *watching) bookmark(annotations map[string]string) bool {
	meta := map[string]any{"resourceVersion": strconv.FormatUint(t.version, 10)}
	if annotations != nil {
		meta["annotations"] = annotations
	}
	meta["creationTimestamp"] = nil
	obj := map[string]any{"kind": t.r.Resource.Kind, "apiVersion": t.r.Resource.GVK().GroupVersion().String(), "metadata": meta}
	switch t.form.as {
	case "Table":
		delete(meta, "creationTimestamp")
		obj["kind"], obj["apiVersion"], obj["columnDefinitions"], obj["rows"] = "Table", "meta.k8s.io/v1", nil, []any{}
		if annotations != nil { // clients find the annotation on the object of the only row
			delete(meta, "annotations")
			obj["rows"] = []any{map[string]any{"cells": nil, "object": map[string]any{
				"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": map[string]any{"annotations": annotations},
			}}}
		}
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		obj["kind"], obj["apiVersion"] = "PartialObjectMetadata", "meta.k8s.io/"+t.form.version
	}
	data, err := json.Marshal(obj)
	return err == nil && t.tell(frame(watch.Bookmark, data))
}

// expired tells the client to list again.
func (t *watching) expired() {
	err := errTooOld(t.version)
	data, _ := json.Marshal(StatusOf(err)) //nolint:errchkjson // a struct of strings and numbers
	if t.tell(frame(watch.Error, data)) {
		t.flush()
	}
}
