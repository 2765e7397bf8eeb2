package api

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/manifests/edit"
	"berth/reconcile"
)

// lookAgain is how often the files of a namespace are written at most: once, as a rule. What two files state counts for the other one when it is gone from
// the first.
const lookAgain = 5

// removeNamespace takes a namespace and all that is in it out of the files, and ends it: all of it, or nothing when one of the files cannot be written.
func (wr *writer) removeNamespace(r *Request, it store.Item, dryRun bool) error {
	name := it.Key.Name
	if slices.Contains([]string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}, name) {
		return apierrors.NewForbidden(r.Resource.GroupResource(), name, errors.New("this namespace may not be deleted"))
	}
	gone := func(k manifests.Key) bool {
		return k.Namespace == name || k.Group == "" && k.Kind == reconcile.KindNamespace && k.Name == name
	}
	for i, files := 0, wr.filesOf(name); i == 0 || len(files) > 0; i, files = i+1, wr.filesOf(name) {
		switch {
		case len(files) == 0:
		case i == lookAgain:
			return apierrors.NewConflict(r.Resource.GroupResource(), name, fmt.Errorf("%s go on stating what is in it", strings.Join(files, ", ")))
		case wr.files == nil:
			return apierrors.NewForbidden(r.Resource.GroupResource(), name, fmt.Errorf("%s: read-only: change them at their source", strings.Join(files, ", ")))
		default:
			err := wr.files.RewriteAll(r.Context(), files, func(file string, data []byte) ([]byte, error) {
				out, err := edit.RemoveAll(file, data, gone)
				if err != nil {
					return nil, apierrors.NewConflict(r.Resource.GroupResource(), name, fmt.Errorf("%s: %w", file, err))
				}
				if dryRun {
					return data, nil
				}
				return out, nil
			})
			if err != nil {
				return unwritten(r, "", err)
			}
		}
		if dryRun {
			return nil
		}
		if err := wr.control.Delete(it.Key, it.Object.GetUID(), nil, false); err != nil {
			return apierrors.NewConflict(r.Resource.GroupResource(), name, err)
		}
	}
	return nil
}

// filesOf are the files that state a namespace or something in it.
func (wr *writer) filesOf(name string) []string {
	files := map[string]bool{}
	wr.opts.Store.Each(func(it store.Item) {
		inside := it.Key.Namespace == name || it.Key.Kind == reconcile.KindNamespace && it.Key.Name == name
		if inside && it.Source != nil && it.Source.Origin.File != "" && !it.Source.Held {
			files[it.Source.Origin.File] = true
		}
	})
	return slices.Sorted(maps.Keys(files))
}

// refuseEnding refuses what is to be made in a namespace that is ending.
func (wr *writer) refuseEnding(r *Request) error {
	ns, ok := store.Get[*corev1.Namespace](wr.opts.Store, reconcile.Key{Kind: reconcile.KindNamespace, Name: r.Namespace})
	if !ok || ns.DeletionTimestamp == nil {
		return nil
	}
	err := apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace), Field: "metadata.namespace",
	})
	return err
}
