package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Request is a request for a resource.
type Request struct {
	*http.Request
	Verb        string
	Resource    *Resource
	Subresource string
	// Namespace is empty for what has none, and for lists over all. Name is empty for collections.
	Namespace, Name string
	// Query is that of the URL.
	Query url.Values

	managed []metav1.ManagedFieldsEntry // who has which fields once a write is done
}

// User is who asks.
func (r *Request) User() User { return UserOf(r.Context()) }

// bool reads a parameter the way Kubernetes does: present and not "false" or "0" is true.
func (r *Request) bool(name string) bool {
	v, ok := r.Query[name]
	if !ok || len(v) == 0 {
		return false
	}
	b, err := strconv.ParseBool(v[0])
	return err != nil || b
}

// pathSegments are the parts of a path, each decoded by itself: an encoded slash stays inside its part, and no part leads elsewhere.
func pathSegments(u *url.URL) ([]string, error) {
	p, _, _ := proxied(u)
	p = strings.Trim(p, "/")
	if p == "" {
		return nil, nil
	}
	parts := strings.Split(p, "/")
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil, apierrors.NewBadRequest("the path cannot be decoded")
		}
		if faults := content.IsPathSegmentName(text); text == "" || len(faults) > 0 {
			return nil, apierrors.NewBadRequest("the path has an invalid part")
		}
		parts[i] = text
	}
	return parts, nil
}

// route understands a path; nil means that it is none of a resource.
func (g *registry) route(hr *http.Request, parts []string) (*Request, error) {
	var gv schema.GroupVersion
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return nil, nil
	}
	if !g.versions[gv] {
		return nil, errNoPage()
	}
	r := &Request{Request: hr, Query: hr.URL.Query()}
	if parts[0] == "namespaces" && len(parts) >= 3 && (gv.Group != "" || len(parts) != 3 || parts[2] != "status" && parts[2] != "finalize") {
		r.Namespace, parts = parts[1], parts[2:]
	}
	r.Resource = g.byName[resourceName{gv.Group, gv.Version, parts[0]}]
	if r.Resource == nil || r.Namespace != "" && !r.Resource.Namespaced || len(parts) > 3 {
		return nil, errNoPage()
	}
	if len(parts) > 1 {
		r.Name = parts[1]
	}
	if len(parts) > 2 {
		r.Subresource = parts[2]
		if r.Resource.subresource(r.Subresource) == nil {
			return nil, errNoPage()
		}
	}
	if r.Resource.Namespaced && r.Namespace == "" && r.Name != "" {
		return nil, errNoPage()
	}
	r.Verb = verbOf(r)
	return r, nil
}

// verbOf is the verb in RBAC's words.
func verbOf(r *Request) string {
	if connects(r.Subresource) && (r.Method == http.MethodGet || r.Method == http.MethodPost) || r.Subresource == "proxy" && slices.Contains(proxiedMethods, r.Method) {
		return "connect"
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case r.Name != "":
			return "get"
		case r.bool("watch"):
			return "watch"
		}
		return "list"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if r.Name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return strings.ToLower(r.Method)
}
