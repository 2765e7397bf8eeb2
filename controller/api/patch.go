package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/controller/store"
	"berth/reconcile/request"
)

// Media types of patches.
const (
	jsonPatchType  = "application/json-patch+json"
	mergePatchType = "application/merge-patch+json"
	strategicType  = "application/strategic-merge-patch+json"
	applyType      = "application/apply-patch+yaml"
)

func (wr *writer) patch(w http.ResponseWriter, r *Request) error {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	data, err := patchBody(r, media)
	if err != nil {
		return err
	}
	const tries = 5 // as in Kubernetes
	for range tries {
		it, gone := wr.Object(r)
		switch {
		case media == applyType:
			err = wr.apply(w, r, it, gone == nil, data)
		case gone != nil:
			return gone
		default:
			err = wr.patchItem(w, r, it, media, data)
		}
		now, _ := wr.opts.Store.Get(r.Key())
		if !apierrors.IsConflict(err) || now.Object == it.Object { // not because somebody else was quicker
			return err
		}
		r.managed = nil
	}
	return err
}

func (wr *writer) patchItem(w http.ResponseWriter, r *Request, it store.Item, media string, data []byte) error {
	seen, err := wr.seen(r, it)
	if err != nil {
		return err
	}
	wish, back, err := wr.patched(r, it, seen, media, data)
	if err != nil {
		return err
	}
	if back > 0 {
		if !r.bool("dryRun") {
			if err := wr.control.Rollback(r.Key(), back); err != nil {
				return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, err)
			}
		}
		return wr.settled(w, r, http.StatusOK, asides{})
	}
	if err := wr.fit(r, wish); err != nil {
		return err
	}
	return wr.commit(w, r, it, wish)
}

func patchBody(r *Request, media string) ([]byte, error) {
	switch media {
	case jsonPatchType, mergePatchType, strategicType, applyType:
		return body(r)
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s, %s, %s, %s", jsonPatchType, mergePatchType, strategicType, applyType),
	}}
}

// patched is what a patch makes of an object; back is the revision that it goes back to, 0 when it does not.
func (wr *writer) patched(r *Request, it store.Item, seen map[string]any, media string, data []byte) (wish map[string]any, back int64, err error) {
	var out any
	switch media {
	case jsonPatchType:
		var ops []operation
		if err := json.Unmarshal(data, &ops); err != nil {
			return nil, 0, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if back := wr.undoes(it, ops); back > 0 {
			return nil, back, nil
		}
		out, err = jsonPatch(cloneJSON(seen), ops)
		if err != nil {
			return nil, 0, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
		}
	default:
		var p map[string]any
		if err := utiljson.Unmarshal(data, &p); err != nil {
			return nil, 0, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if media == mergePatchType {
			out = mergePatch(cloneJSON(seen), p)
			break
		}
		typed, terr := newFor(r.Resource.GVK())
		if terr != nil {
			return nil, 0, apierrors.NewBadRequest("strategic merge patches are for the kinds of Kubernetes")
		}
		doc, _ := cloneJSON(seen).(map[string]any)
		out, err = strategicMerge(doc, p, reflect.TypeOf(typed))
		if err != nil {
			return nil, 0, apierrors.NewBadRequest(err.Error())
		}
	}
	wish, ok := out.(map[string]any)
	if !ok {
		return nil, 0, apierrors.NewBadRequest("the patch leaves no object")
	}
	return wish, 0, nil
}

// undoes finds the revision that kubectl rollout undo goes back to: it puts the template of a ReplicaSet in the place of the Deployment's. Here the
// file keeps its own, and the request stands beside it.
func (wr *writer) undoes(it store.Item, ops []operation) int64 {
	d, ok := it.Object.(*appsv1.Deployment)
	if !ok {
		return 0
	}
	for _, op := range ops {
		if op.Op != "replace" || op.Path != "/spec/template" {
			continue
		}
		var t corev1.PodTemplateSpec
		if json.Unmarshal(op.Value, &t) != nil {
			return 0
		}
		for _, owned := range wr.opts.Store.OwnedBy(d.UID) {
			rs, ok := owned.Object.(*appsv1.ReplicaSet)
			if !ok {
				continue
			}
			have := rs.Spec.Template.DeepCopy()
			delete(have.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
			if apiequality.Semantic.DeepEqual(have, &t) {
				n, _ := strconv.ParseInt(rs.Annotations[request.AnnotationRevision], 10, 64)
				return n
			}
		}
	}
	return 0
}
