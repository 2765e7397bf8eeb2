package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"berth/controller/store"
	"berth/manifests"
)

// Ephemeral containers (kubectl debug) are added to a Pod that is there; no file says them.

func (wr *writer) updateEphemeral(w http.ResponseWriter, r *Request) error {
	return wr.withPod(r, func(it store.Item) error {
		wish, err := wr.object(r)
		if err != nil {
			return err
		}
		return wr.addEphemeral(w, r, it, wish)
	})
}

func (wr *writer) patchEphemeral(w http.ResponseWriter, r *Request) error {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	data, err := patchBody(r, media)
	if err != nil {
		return err
	}
	if media == applyType {
		return apierrors.NewBadRequest("ephemeral containers are added by a patch")
	}
	return wr.withPod(r, func(it store.Item) error {
		seen, err := wr.seen(r, it)
		if err != nil {
			return err
		}
		wish, _, err := wr.patched(r, it, seen, media, data)
		if err != nil {
			return err
		}
		if err := wr.fit(r, wish); err != nil {
			return err
		}
		return wr.addEphemeral(w, r, it, wish)
	})
}

// withPod does something with a Pod, and again when that was changed meanwhile by somebody else: statuses change by themselves.
func (wr *writer) withPod(r *Request, do func(store.Item) error) error {
	const tries = 5 // as in Kubernetes
	var err error
	for range tries {
		it, gone := wr.Object(r)
		if gone != nil {
			return gone
		}
		if err = do(it); !errors.Is(err, errChanged) {
			return err
		}
		if r.Method == http.MethodPut { // its body has been read, and speaks of that version
			break
		}
	}
	return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, err)
}

var errChanged = errors.New("the object has been modified; please apply your changes to the latest version and try again")

func (wr *writer) addEphemeral(w http.ResponseWriter, r *Request, it store.Item, obj map[string]any) error {
	if err := precondition(r, it.Object, below(obj, "metadata")); err != nil {
		return err
	}
	old, ok := it.Object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("cannot add to a %T", it.Object)
	}
	said := &corev1.Pod{}
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": below(obj, "spec")["ephemeralContainers"]}})
	if err == nil {
		err = json.Unmarshal(data, said)
	}
	if err != nil {
		return apierrors.NewBadRequest("error decoding ephemeralContainers: " + err.Error())
	}
	wish := old.DeepCopy() // nothing else is taken from the request
	wish.Spec.EphemeralContainers = said.Spec.EphemeralContainers
	if errs := manifests.AddEphemeral(old, wish); len(errs) > 0 {
		return apierrors.NewInvalid(r.Resource.GVK().GroupKind(), r.Name, errs)
	}
	if r.bool("dryRun") {
		return wr.answer(w, r, http.StatusOK, wish)
	}
	changed, err := wr.control.SetEphemeral(r.Context(), wish)
	if err != nil {
		return err
	}
	if changed {
		return errChanged
	}
	now, err := wr.Object(r)
	if err != nil {
		return err
	}
	return wr.answer(w, r, http.StatusOK, now.Object)
}
