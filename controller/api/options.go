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
		if o.limit, err = strconv.ParseInt(text, 10, 64); err != nil || o.limit < 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid limit %q", text))
		}
	}
	if text := r.Query.Get("timeoutSeconds"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid timeoutSeconds %q", text))
		}
		o.timeout = time.Duration(n) * time.Second
	}
	if text := r.Query.Get("resourceVersion"); text != "" {
		if o.version, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("Invalid value: %q: resource version must be a number", text))
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
	switch metav1.ResourceVersionMatch(match) {
	case "", metav1.ResourceVersionMatchNotOlderThan:
	case metav1.ResourceVersionMatchExact:
		if o.version == 0 {
			return forbiddenMatch("resourceVersionMatch \"Exact\" is forbidden without a resourceVersion other than 0")
		}
		o.exact = true
	default:
		return forbiddenMatch(fmt.Sprintf("Unsupported value: %q: supported values: \"Exact\", \"NotOlderThan\"", match))
	}
	if match != "" && !o.versions {
		return forbiddenMatch("resourceVersionMatch is forbidden unless resourceVersion is provided")
	}
	if r.Query.Has("sendInitialEvents") {
		return forbiddenMatch("sendInitialEvents is forbidden for list")
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
		return apierrors.NewBadRequest("continue key is not valid: " + err.Error())
	}
	o.version, o.exact, o.after = t.Version, true, t.After
	return nil
}

// parseInitial reads what a watch says of its beginning.
func (o *listOptions) parseInitial(r *Request) error {
	match := r.Query.Get("resourceVersionMatch")
	if !r.Query.Has("sendInitialEvents") {
		if match != "" {
			return forbiddenMatch("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
		}
		o.initial = o.version == 0
		return nil
	}
	if match != string(metav1.ResourceVersionMatchNotOlderThan) {
		return forbiddenMatch("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	}
	o.initial = r.bool("sendInitialEvents")
	o.told = o.initial && o.bookmarks
	return nil
}

func forbiddenMatch(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 422, Reason: metav1.StatusReasonInvalid, Message: "ListOptions.meta.k8s.io \"\" is invalid: " + text,
	}}
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
