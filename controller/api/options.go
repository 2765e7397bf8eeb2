package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/controller/store"
)

// listOptions are what a list or a watch asks for.
type listOptions struct {
	filter
	// version is the resourceVersion, exact when only that one will do, set when one was given.
	version  uint64
	exact    bool
	versions bool
	// limit is 0 for none. after is the last name that a client has of a list in parts.
	limit     int64
	after     string
	bookmarks bool
	// initial asks a watch for everything there is first, and told for a bookmark behind it.
	initial, told bool
	timeout       time.Duration
}

// filter tells which objects are asked for.
type filter struct {
	namespace, name string
	labels          labels.Selector
	fields          fieldSelector
}

func (f *filter) matches(obj store.Object) bool {
	if obj == nil || f.namespace != "" && obj.GetNamespace() != f.namespace {
		return false
	}
	if !f.labels.Empty() && !f.labels.Matches(labels.Set(obj.GetLabels())) {
		return false
	}
	return f.fields.matches(obj)
}

func parseListOptions(r *Request) (*listOptions, error) {
	o := &listOptions{filter: filter{namespace: r.Namespace, labels: labels.Everything()}}
	var err error
	if text := r.Query.Get("labelSelector"); text != "" {
		if o.labels, err = labels.Parse(text); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if o.fields, err = parseFields(r); err != nil {
		return nil, err
	}
	if text := r.Query.Get("limit"); text != "" {
		if o.limit, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if o.limit < 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid limit %q", text))
		}
	}
	if text := r.Query.Get("timeoutSeconds"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if n < 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid timeoutSeconds %q", text))
		}
		o.timeout = time.Duration(n) * time.Second
	}
	if text := r.Query.Get("resourceVersion"); text != "" {
		if o.version, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, apierrors.NewBadRequest("invalid resource version: " + field.Invalid(field.NewPath("resourceVersion"), text, err.Error()).Error())
		}
		o.versions = true
	}
	o.bookmarks = r.bool("allowWatchBookmarks")
	if r.Verb == "watch" {
		return o, o.parseInitial(r)
	}
	return o, o.parseMatch(r)
}

// parseMatch reads what a list says of its version.
func (o *listOptions) parseMatch(r *Request) error {
	match := r.Query.Get("resourceVersionMatch")
	if match != "" && !o.versions {
		return unfit("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
	}
	switch m := metav1.ResourceVersionMatch(match); m {
	case "", metav1.ResourceVersionMatchNotOlderThan:
	case metav1.ResourceVersionMatchExact:
		if o.version == 0 {
			return unfit("resourceVersionMatch", `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`)
		}
		o.exact = true
	default:
		known := []metav1.ResourceVersionMatch{metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan, ""}
		return invalidOptions(field.NotSupported(field.NewPath("resourceVersionMatch"), m, known))
	}
	if r.Query.Has("sendInitialEvents") {
		return unfit("sendInitialEvents", "sendInitialEvents is forbidden for list")
	}
	text := r.Query.Get("continue")
	if text == "" {
		return nil
	}
	if match != "" || o.version != 0 {
		return apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	t, err := parseToken(text)
	if err != nil {
		return apierrors.NewBadRequest("invalid continue token: continue key is not valid: " + err.Error())
	}
	o.version, o.exact, o.after = t.Version, true, t.After
	return nil
}

// parseInitial reads what a watch says of its beginning.
func (o *listOptions) parseInitial(r *Request) error {
	match := r.Query.Get("resourceVersionMatch")
	if !r.Query.Has("sendInitialEvents") {
		if match != "" {
			return unfit("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
		}
		o.initial = o.version == 0
		return nil
	}
	if match != string(metav1.ResourceVersionMatchNotOlderThan) {
		return unfit("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	}
	o.initial = r.bool("sendInitialEvents")
	o.told = o.initial && o.bookmarks
	return nil
}

// unfit is the answer to an option that does not go with the others.
func unfit(option, text string) error {
	return invalidOptions(field.Forbidden(field.NewPath(option), text))
}

func invalidOptions(fault *field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", field.ErrorList{fault})
}

// token is where a list in parts goes on: after a name, in the picture of a version. Nothing is kept for it: the picture is made again from the history.
type token struct {
	Version uint64 `json:"rv"`
	After   string `json:"after"`
}

func (t token) String() string {
	data, err := json.Marshal(t)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func parseToken(text string) (token, error) {
	var t token
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, err
	}
	if t.Version == 0 || t.After == "" {
		return t, fmt.Errorf("it names no place")
	}
	return t, nil
}

// placeOf is an object's place in lists: they are sorted by it.
func placeOf(it *store.Item) string { return it.Key.Namespace + "/" + it.Key.Name }
