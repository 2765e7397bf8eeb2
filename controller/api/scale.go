package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/controller/store"
)

// scaleOf is an object as something that has a number of replicas.
func scaleOf(obj store.Object) (*autoscalingv1.Scale, error) {
	s := &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
	}
	count := func(n *int32, ready int32, selector *metav1.LabelSelector) {
		s.Spec.Replicas, s.Status.Replicas = 1, ready
		if n != nil {
			s.Spec.Replicas = *n
		}
		if sel, err := metav1.LabelSelectorAsSelector(selector); err == nil {
			s.Status.Selector = sel.String()
		}
	}
	switch o := obj.(type) {
	case *appsv1.Deployment:
		count(o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *appsv1.ReplicaSet:
		count(o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *appsv1.StatefulSet:
		count(o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *corev1.ReplicationController:
		count(o.Spec.Replicas, o.Status.Replicas, nil)
		s.Status.Selector = labels.Set(o.Spec.Selector).String()
	default:
		return nil, fmt.Errorf("cannot scale a %T", obj)
	}
	return s, nil
}

// scale is the Scale that a request is about.
func (wr *writer) scale(r *Request) (*autoscalingv1.Scale, error) {
	it, err := wr.Object(r)
	if err != nil {
		return nil, err
	}
	return scaleOf(it.Object)
}

func (wr *writer) getScale(w http.ResponseWriter, r *Request) error {
	s, err := wr.scale(r)
	if err != nil {
		return err
	}
	f, err := negotiate(r.Header.Get("Accept"), transformable)
	if err != nil {
		return err
	}
	as := *r
	as.Resource = &Resource{Group: "autoscaling", Version: "v1", Name: "scales", Kind: "Scale"}
	return wr.respondAs(w, &as, f, http.StatusOK, s)
}

func (wr *writer) updateScale(w http.ResponseWriter, r *Request) error {
	obj, err := wr.object(r)
	if err != nil {
		return err
	}
	return wr.scaleTo(w, r, obj)
}

func (wr *writer) patchScale(w http.ResponseWriter, r *Request) error {
	s, err := wr.scale(r)
	if err != nil {
		return err
	}
	seen, err := asJSON(s)
	if err != nil {
		return err
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	data, err := patchBody(r, media)
	if err != nil {
		return err
	}
	var out any
	switch media {
	case jsonPatchType:
		var ops []operation
		if err := json.Unmarshal(data, &ops); err != nil {
			return apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if out, err = jsonPatch(seen, ops); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	default:
		var p map[string]any
		if err := utiljson.Unmarshal(data, &p); err != nil {
			return apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if out, err = strategicMerge(seen, p, reflect.TypeFor[autoscalingv1.Scale]()); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	obj, _ := out.(map[string]any)
	return wr.scaleTo(w, r, obj)
}

// scaleTo changes the number of replicas of what a Scale stands for.
func (wr *writer) scaleTo(w http.ResponseWriter, r *Request, obj map[string]any) error {
	n, ok := below(obj, "spec")["replicas"].(int64)
	if !ok && below(obj, "spec")["replicas"] != nil || n < 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.replicas: Invalid value: %v: must be greater than or equal to 0", below(obj, "spec")["replicas"]))
	}
	it, err := wr.Object(r)
	if err != nil {
		return err
	}
	wish, err := wr.seen(r, it)
	if err != nil {
		return err
	}
	meta := below(wish, "metadata")
	for _, name := range []string{"uid", "resourceVersion"} {
		meta[name] = below(obj, "metadata")[name]
	}
	below(wish, "spec")["replicas"] = n
	answer := &captured{header: w.Header()}
	if err := wr.commit(answer, r, it, wish); err != nil {
		return err
	}
	if r.bool("dryRun") {
		return wr.Respond(w, r, http.StatusOK, obj)
	}
	return wr.getScale(w, r)
}

// captured takes an answer that is given in another form.
type captured struct{ header http.Header }

func (c *captured) Header() http.Header            { return http.Header{} }
func (c *captured) Write(data []byte) (int, error) { return len(data), nil }
func (c *captured) WriteHeader(int)                {}

func asJSON(v any) (map[string]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a %T: %w", v, err)
	}
	var m map[string]any
	return m, utiljson.Unmarshal(data, &m)
}
