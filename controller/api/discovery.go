package api

import (
	"cmp"
	"net/http"
	goruntime "runtime"
	"slices"
	"strings"

	discoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// kubernetesVersion is the release whose API is served.
const kubernetesVersion = "v1.36.3"

// serveOther answers what is no resource: discovery, versions, health, OpenAPI.
func (s *Server) serveOther(w http.ResponseWriter, hr *http.Request, parts []string) error {
	if hr.Method != http.MethodGet && hr.Method != http.MethodHead {
		return errNoPage()
	}
	if len(parts) == 0 {
		return s.write(w, hr, http.StatusOK, map[string]any{"paths": s.paths()})
	}
	switch {
	case parts[0] == "version" && len(parts) == 1:
		return s.write(w, hr, http.StatusOK, s.version())
	case parts[0] == "healthz", parts[0] == "livez", parts[0] == "readyz":
		return serveHealth(w, hr, parts)
	case parts[0] == "openapi":
		return s.serveOpenAPI(w, hr, parts)
	case parts[0] == "api" || parts[0] == "apis":
		return s.discover(w, hr, parts)
	}
	return errNoPage()
}

// serveHealth says that the API answers, which is the one thing that is checked: who cannot be helped does not answer at all.
func serveHealth(w http.ResponseWriter, hr *http.Request, parts []string) error {
	if len(parts) > 2 || len(parts) == 2 && parts[1] != "ping" {
		return errNoPage()
	}
	text := "ok"
	if hr.URL.Query().Has("verbose") && len(parts) == 1 {
		text = "[+]ping ok\n" + parts[0] + " check passed\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(text)) // the client went away: nobody to tell
	return nil
}

func (s *Server) paths() []string {
	paths := []string{"/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"}
	for gv := range s.registry.versions {
		if gv.Group != "" {
			paths = append(paths, "/apis/"+gv.Group, "/apis/"+gv.String())
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

func (s *Server) version() version.Info {
	return version.Info{
		Major: "1", Minor: "36", GitVersion: Version(s.opts.Version), GitTreeState: "clean",
		GoVersion: goruntime.Version(), Compiler: goruntime.Compiler, Platform: goruntime.GOOS + "/" + goruntime.GOARCH,
	}
}

// Version is what a berth of a version says of itself to clients: the Kubernetes release it follows, and what it is.
func Version(berth string) string { return kubernetesVersion + "+berth." + semantic(berth) }

// semantic is a version as part of one that clients parse: letters, digits, dots and dashes.
func semantic(v string) string {
	v = strings.Trim(strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, v), ".-")
	return cmp.Or(v, "devel")
}

// aggregated is the form of discovery in one answer.
func aggregated(as, group, version string) bool {
	return as == "APIGroupDiscoveryList" && group == discoveryv2.GroupName && version == "v2"
}

func (s *Server) discover(w http.ResponseWriter, hr *http.Request, parts []string) error {
	var out any
	switch {
	case len(parts) == 1:
		f, err := negotiate(hr.Header.Get("Accept"), aggregated)
		if err != nil {
			return err
		}
		if f.as != "" {
			return s.writeAggregated(w, hr, f, parts[0] == "api")
		}
		if parts[0] == "api" {
			out = &metav1.APIVersions{
				TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
				ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: hr.Host}},
			}
		} else {
			list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
			for _, name := range s.registry.groups() {
				list.Groups = append(list.Groups, s.registry.group(name))
			}
			out = list
		}
	case len(parts) == 2 && parts[0] == "apis":
		g := s.registry.group(parts[1])
		if len(g.Versions) == 0 {
			return errNoPage()
		}
		g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		out = &g
	case len(parts) == 2:
		out = s.registry.resourceList(schema.GroupVersion{Version: parts[1]})
	case len(parts) == 3 && parts[0] == "apis":
		out = s.registry.resourceList(schema.GroupVersion{Group: parts[1], Version: parts[2]})
	default:
		return errNoPage()
	}
	if l, ok := out.(*metav1.APIResourceList); ok && l == nil {
		return errNoPage()
	}
	return s.write(w, hr, http.StatusOK, out)
}

// groups are the names of all groups but the core one, in the order of the table.
func (g *registry) groups() []string {
	var names []string
	for i := range g.all {
		if n := g.all[i].Group; n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func (g *registry) versionsOf(group string) []string {
	var versions []string
	for i := range g.all {
		if r := &g.all[i]; r.Group == group && !slices.Contains(versions, r.Version) {
			versions = append(versions, r.Version)
		}
	}
	return versions
}

func (g *registry) group(name string) metav1.APIGroup {
	out := metav1.APIGroup{Name: name}
	for _, v := range g.versionsOf(name) {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
	}
	if len(out.Versions) > 0 {
		out.PreferredVersion = out.Versions[0]
	}
	return out
}

func (g *registry) resourceList(gv schema.GroupVersion) *metav1.APIResourceList {
	if !g.versions[gv] {
		return nil
	}
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	if gv.Group == "" {
		list.APIVersion = "" // as that of Kubernetes
	}
	for i := range g.all {
		r := &g.all[i]
		if r.Group != gv.Group || r.Version != gv.Version {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: r.Name, SingularName: r.Singular, Namespaced: r.Namespaced, Kind: r.Kind, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
		for _, sub := range r.Subresources {
			kind := sub.gvk(r)
			entry := metav1.APIResource{Name: r.Name + "/" + sub.Name, Namespaced: r.Namespaced, Kind: kind.Kind, Verbs: sub.Verbs}
			if kind.GroupVersion() != gv {
				entry.Group, entry.Version = kind.Group, kind.Version
			}
			list.APIResources = append(list.APIResources, entry)
		}
	}
	return list
}

func (sub *Subresource) gvk(r *Resource) schema.GroupVersionKind {
	if sub.Kind == "" {
		return r.GVK()
	}
	return schema.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}
}

func (s *Server) writeAggregated(w http.ResponseWriter, hr *http.Request, f form, core bool) error {
	list := &discoveryv2.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}}
	groups := []string{""}
	if !core {
		groups = s.registry.groups()
	}
	for _, name := range groups {
		g := discoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, v := range s.registry.versionsOf(name) {
			g.Versions = append(g.Versions, discoveryv2.APIVersionDiscovery{
				Version: v, Freshness: discoveryv2.DiscoveryFreshnessCurrent, Resources: s.registry.discovered(schema.GroupVersion{Group: name, Version: v}),
			})
		}
		list.Items = append(list.Items, g)
	}
	data, err := encode(f, list)
	if err != nil {
		return err
	}
	media := jsonType
	if f.yaml {
		media = yamlType
	}
	writeBytes(w, hr, media+";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", http.StatusOK, data)
	return nil
}

func (g *registry) discovered(gv schema.GroupVersion) []discoveryv2.APIResourceDiscovery {
	kind := func(k schema.GroupVersionKind) *metav1.GroupVersionKind {
		return &metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
	}
	var out []discoveryv2.APIResourceDiscovery
	for i := range g.all {
		r := &g.all[i]
		if r.Group != gv.Group || r.Version != gv.Version {
			continue
		}
		d := discoveryv2.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: kind(r.GVK()), Scope: discoveryv2.ScopeCluster, SingularResource: r.Singular, Verbs: r.Verbs,
			ShortNames: r.ShortNames, Categories: r.Categories,
		}
		if r.Namespaced {
			d.Scope = discoveryv2.ScopeNamespace
		}
		for j := range r.Subresources {
			sub := &r.Subresources[j]
			d.Subresources = append(d.Subresources, discoveryv2.APISubresourceDiscovery{Subresource: sub.Name, ResponseKind: kind(sub.gvk(r)), Verbs: sub.Verbs})
		}
		out = append(out, d)
	}
	return out
}
