package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/uuid"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// Events of clients: what programs tell of their own work (client-go's recorders do), and now and then a person. They are kept where berth's own are, in memory, and
// as long as there is room; no file states them.

const (
	// maxTold is how many are kept, as many as of berth's own: so nobody talks these away.
	maxTold = 1000
	// maxToldSize is how much all of them together may be: four times what as many of a recorder's are.
	maxToldSize = 4 << 20
	// maxEvent is the size of the largest one. In the younger API it is some 2 KiB; in the older one a message has no bounds, and the history has the last versions of it.
	maxEvent = 16 << 10
)

// told knows which events are those of clients, and their sizes.
type told struct {
	mu    sync.Mutex
	sizes map[reconcile.Key]int
	total int
}

// set notes the size of an event; 0 forgets it.
func (t *told) set(key reconcile.Key, size int) {
	t.total += size - t.sizes[key]
	if t.sizes[key] = size; size == 0 {
		delete(t.sizes, key)
	}
}

// note takes in that an event was made, or changed, and returns those that have to make room. One of berth's own that is changed stays that.
func (t *told) note(st *store.Store, key reconcile.Key, size int, made bool) (gone []reconcile.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !made && t.sizes[key] == 0 {
		return nil
	}
	if t.set(key, size); len(t.sizes) <= maxTold && t.total <= maxToldSize {
		return nil
	}
	return t.shrink(st)
}

// shrink drops the older tenth at once: of what went well, while that is the more. An event's age is that of its last change.
func (t *told) shrink(st *store.Store) (gone []reconcile.Key) {
	var there, normal []store.Item
	for key := range t.sizes {
		it, ok := st.Get(key)
		if !ok { // somebody has deleted it, or its namespace
			t.set(key, 0)
			continue
		}
		there = append(there, it)
		if e, ok := it.Object.(*corev1.Event); ok && e.Type == corev1.EventTypeNormal {
			normal = append(normal, it)
		}
	}
	if len(normal) > len(there)/2 {
		there = normal
	}
	slices.SortFunc(there, func(a, b store.Item) int { return cmp.Compare(versionOf(a.Object), versionOf(b.Object)) })
	for _, it := range there {
		if len(t.sizes) <= maxTold*9/10 && t.total <= maxToldSize*9/10 {
			break
		}
		t.set(it.Key, 0)
		gone = append(gone, it.Key)
	}
	return gone
}

func versionOf(obj store.Object) uint64 {
	v, _ := strconv.ParseUint(obj.GetResourceVersion(), 10, 64) // the store's own numbers
	return v
}

// createEvent keeps an event that a client tells of.
func (wr *writer) createEvent(w http.ResponseWriter, r *Request, obj map[string]any) error {
	if err := cmp.Or(wr.haveNamespace(r.Namespace), wr.refuseEnding(r)); err != nil {
		return err
	}
	wish, size, err := wr.event(w, r, obj)
	if err != nil {
		return err
	}
	wish.ObjectMeta = metav1.ObjectMeta{Name: wish.Name, Namespace: r.Namespace, Labels: wish.Labels, Annotations: wish.Annotations, ManagedFields: r.managed}
	if errs := manifests.ValidateEvent(nil, wish, r.Resource.GVK().GroupVersion()); len(errs) > 0 {
		return apierrors.NewInvalid(r.Resource.GVK().GroupKind(), r.Name, errs)
	}
	if r.bool("dryRun") {
		wish.UID, wish.CreationTimestamp = uuid.NewUUID(), metav1.NewTime(wr.opts.Clock.Now())
		return wr.answer(w, r, http.StatusCreated, wish)
	}
	if err := wr.opts.Store.Create(r.Key(), wish, nil); err != nil {
		return apierrors.NewAlreadyExists(r.Resource.GroupResource(), r.Name)
	}
	for _, key := range wr.told.note(wr.opts.Store, r.Key(), size, true) {
		wr.opts.Store.Delete(key, "")
	}
	return wr.answer(w, r, http.StatusCreated, wish)
}

// updateEvent makes something else of an event: mostly that it has happened again.
func (wr *writer) updateEvent(w http.ResponseWriter, r *Request, it store.Item, obj map[string]any) error {
	old, ok := it.Object.(*corev1.Event)
	if !ok {
		return fmt.Errorf("cannot change a %T", it.Object)
	}
	wish, size, err := wr.event(w, r, obj)
	if err != nil {
		return err
	}
	said := wish.ObjectMeta
	wish.ObjectMeta = old.ObjectMeta
	wish.Labels, wish.Annotations = said.Labels, said.Annotations
	if r.managed != nil {
		wish.ManagedFields = r.managed
	}
	if errs := manifests.ValidateEvent(old, wish, r.Resource.GVK().GroupVersion()); len(errs) > 0 {
		return apierrors.NewInvalid(r.Resource.GVK().GroupKind(), r.Name, errs)
	}
	if r.bool("dryRun") {
		return wr.answer(w, r, http.StatusOK, wish)
	}
	err = wr.opts.Store.Update(it.Key, func(now store.Item) (store.Item, error) {
		if now.Object != it.Object {
			return now, errChanged
		}
		now.Object = wish
		return now, nil
	})
	if err != nil {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, err)
	}
	for _, key := range wr.told.note(wr.opts.Store, it.Key, size, false) {
		wr.opts.Store.Delete(key, "")
	}
	return wr.answer(w, r, http.StatusOK, wish)
}

// event reads one in the words of the request's API, with its size.
func (wr *writer) event(w http.ResponseWriter, r *Request, obj map[string]any) (*corev1.Event, int, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot encode an Event: %w", err)
	}
	if len(data) > maxEvent {
		return nil, 0, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxEvent))
	}
	typed, err := newFor(r.Resource.GVK())
	if err != nil {
		return nil, 0, err
	}
	if err := utiljson.Unmarshal(data, typed); err != nil {
		return nil, 0, apierrors.NewBadRequest(fmt.Sprintf("Event in version %q cannot be handled as a Event: %v", r.Resource.Version, err))
	}
	if err := strictly(w, r, data); err != nil {
		return nil, 0, err
	}
	wish, ok := typed.(*corev1.Event)
	if n, young := typed.(*eventsv1.Event); young {
		wish, ok = oldEvent(n), true
	}
	if !ok {
		return nil, 0, fmt.Errorf("cannot read a %T as an Event", typed)
	}
	wish.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindEvent}
	return wish, len(data), nil
}

// strictly refuses a field that an Event does not have, or warns of it, as the request wants it.
func strictly(w http.ResponseWriter, r *Request, data []byte) error {
	mode := cmp.Or(r.Query.Get("fieldValidation"), metav1.FieldValidationWarn)
	typed, err := newFor(r.Resource.GVK())
	if mode == metav1.FieldValidationIgnore || err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err = d.Decode(typed)
	if err == nil || !strings.Contains(err.Error(), "unknown field") {
		return nil // it has been read before
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if mode == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(fmt.Sprintf("Event in version %q cannot be handled as a Event: strict decoding error: %s", r.Resource.Version, text))
	}
	warn(w, text)
	return nil
}

// oldEvent is an event in the words of the older API, which the store speaks.
func oldEvent(n *eventsv1.Event) *corev1.Event {
	e := &corev1.Event{
		ObjectMeta: n.ObjectMeta, EventTime: n.EventTime, ReportingController: n.ReportingController, ReportingInstance: n.ReportingInstance, Action: n.Action,
		Reason: n.Reason, InvolvedObject: n.Regarding, Related: n.Related, Message: n.Note, Type: n.Type,
		Source: n.DeprecatedSource, FirstTimestamp: n.DeprecatedFirstTimestamp, LastTimestamp: n.DeprecatedLastTimestamp, Count: n.DeprecatedCount,
	}
	if n.Series != nil {
		e.Series = &corev1.EventSeries{Count: n.Series.Count, LastObservedTime: n.Series.LastObservedTime}
	}
	return e
}
