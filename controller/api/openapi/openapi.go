// Package openapi describes Kubernetes types to clients, as OpenAPI v3: what `kubectl explain` prints, `kubectl apply` merges by, and editors complete from.
//
// The description is made from the Go types themselves, when it is asked for: their JSON names, their patch tags, and the texts that are compiled into
// k8s.io/api. The generated description that a Kubernetes API server carries would be a sixth of berth's binary.
package openapi

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is what a path leads to.
type Resource struct {
	GVK        schema.GroupVersionKind
	Name       string
	Namespaced bool
	Verbs      []string
	// Type is the Go type of the objects, a pointer to a struct; List that of lists, or nil.
	Type, List reflect.Type
}

// object is JSON.
type object = map[string]any

// Document describes a group and version.
func Document(version string, resources []Resource) map[string]any {
	b := &builder{schemas: object{}, types: map[string]reflect.Type{}}
	paths := object{}
	for i := range resources {
		r := &resources[i]
		b.root(r.Type, r.GVK)
		if r.List != nil {
			list := r.GVK
			list.Kind += "List"
			b.root(r.List, list)
		}
		r.describe(paths)
	}
	return object{
		"openapi":    "3.0.0",
		"info":       object{"title": "Kubernetes", "version": version},
		"paths":      paths,
		"components": object{"schemas": b.schemas},
	}
}

// describe enters the paths of a resource.
func (r *Resource) describe(paths object) {
	base := "/api/" + r.GVK.Version
	if r.GVK.Group != "" {
		base = "/apis/" + r.GVK.Group + "/" + r.GVK.Version
	}
	var scope []any
	if r.Namespaced {
		if item := r.operations(nil, "list"); len(item) > 0 {
			paths[base+"/"+r.Name] = item
		}
		base += "/namespaces/{namespace}"
		scope = append(scope, parameter("path", "namespace", "string", "object name and auth scope, such as for teams and projects"))
	}
	collection := r.operations(scope, "list", "create", "deletecollection")
	if len(collection) > 0 {
		paths[base+"/"+r.Name] = collection
	}
	scope = append(slices.Clip(scope), parameter("path", "name", "string", "name of the "+r.GVK.Kind))
	if single := r.operations(scope, "get", "update", "patch", "delete"); len(single) > 0 {
		paths[base+"/"+r.Name+"/{name}"] = single
	}
}

func (r *Resource) operations(scope []any, verbs ...string) object {
	item := object{}
	for _, verb := range verbs {
		if slices.Contains(r.Verbs, verb) {
			item[methodOf(verb)] = r.operation(verb)
		}
	}
	if len(item) > 0 && len(scope) > 0 {
		item["parameters"] = scope
	}
	return item
}

func methodOf(verb string) string {
	switch verb {
	case "create":
		return "post"
	case "update":
		return "put"
	case "patch":
		return "patch"
	case "delete", "deletecollection":
		return "delete"
	}
	return "get"
}

// operation is one verb on a path. Clients look at its kind, its action and its parameters.
func (r *Resource) operation(verb string) object {
	action := map[string]string{"create": "post", "update": "put"}[verb]
	if action == "" {
		action = verb
	}
	name := schemaName(r.Type)
	if verb == "list" && r.List != nil {
		name = schemaName(r.List)
	}
	op := object{
		"description": description[verb] + " " + r.GVK.Kind, "tags": []string{tag(r.GVK)}, "operationId": operationID(verb, r),
		"x-kubernetes-action":             action,
		"x-kubernetes-group-version-kind": kindOf(r.GVK),
		"responses": object{"200": object{
			"description": "OK", "content": object{"application/json": object{"schema": reference(name)}},
		}},
	}
	var parameters []any
	switch verb {
	case "create", "update", "patch":
		parameters = []any{
			parameter("query", "dryRun", "string", "All: nothing is changed"),
			parameter("query", "fieldManager", "string", "who makes the change"),
			parameter("query", "fieldValidation", "string", "what to do about unknown or duplicate fields: Ignore, Warn or Strict"),
		}
		op["requestBody"] = object{"content": bodies(verb, name), "required": true}
		if verb == "patch" {
			parameters = append(parameters, parameter("query", "force", "boolean", "take fields over from other managers"))
		}
	case "list", "deletecollection":
		parameters = []any{
			parameter("query", "labelSelector", "string", "only objects with these labels"),
			parameter("query", "fieldSelector", "string", "only objects with these fields"),
			parameter("query", "limit", "integer", "the largest number of objects in one answer"),
			parameter("query", "continue", "string", "where the last answer ended"),
			parameter("query", "resourceVersion", "string", "the version to list or to watch from"),
			parameter("query", "watch", "boolean", "tell changes"),
		}
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	return op
}

func bodies(verb, name string) object {
	if verb != "patch" {
		return object{"*/*": object{"schema": reference(name)}}
	}
	content := object{}
	for _, media := range []string{
		"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
	} {
		content[media] = object{"schema": reference("io.k8s.apimachinery.pkg.apis.meta.v1.Patch")}
	}
	return content
}

var description = map[string]string{
	"get": "read the specified", "list": "list or watch objects of kind", "create": "create a", "update": "replace the specified",
	"patch": "partially update the specified", "delete": "delete a", "deletecollection": "delete collection of",
}

func tag(gvk schema.GroupVersionKind) string {
	group, _, _ := strings.Cut(gvk.Group, ".")
	if group == "" {
		group = "core"
	}
	return group + "_" + gvk.Version
}

func operationID(verb string, r *Resource) string {
	scope := ""
	if r.Namespaced {
		scope = "Namespaced"
	}
	t := strings.ReplaceAll(tag(r.GVK), "_v", "V")
	return verb + strings.ToUpper(t[:1]) + t[1:] + scope + r.GVK.Kind
}

func kindOf(gvk schema.GroupVersionKind) object {
	return object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}

func parameter(in, name, kind, text string) object {
	p := object{"name": name, "in": in, "description": text, "schema": object{"type": kind, "uniqueItems": true}}
	if in == "path" {
		p["required"] = true
	}
	return p
}

func reference(name string) object { return object{"$ref": "#/components/schemas/" + name} }
