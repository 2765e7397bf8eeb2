package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"berth/controller/api/openapi"
	"berth/manifests"
)

// serveOpenAPI answers /openapi/v3 and what is below it.
func (s *Server) serveOpenAPI(w http.ResponseWriter, hr *http.Request, parts []string) error {
	if len(parts) == 2 && parts[1] == "v2" {
		return s.serveOldOpenAPI(w, hr)
	}
	if len(parts) < 2 || parts[1] != "v3" {
		return errNoPage()
	}
	if len(parts) == 2 {
		paths := map[string]any{}
		for gv := range s.registry.versions {
			path := pathOf(gv)
			paths[path] = map[string]string{"serverRelativeURL": "/openapi/v3/" + path + "?hash=" + s.documentHash(gv)}
		}
		return s.write(w, hr, http.StatusOK, map[string]any{"paths": paths})
	}
	gv, ok := s.versionAt(strings.Join(parts[2:], "/"))
	if !ok {
		return errNoPage()
	}
	etag := `"` + s.documentHash(gv) + `"`
	if hr.URL.Query().Get("hash") == s.documentHash(gv) { // what the hash names never changes
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", s.opts.Clock.Now().UTC().AddDate(1, 0, 0).Format(http.TimeFormat))
	}
	w.Header().Set("Etag", etag)
	if hr.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return s.write(w, hr, http.StatusOK, openapi.Document(kubernetesVersion, s.described(gv)))
}

func pathOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

func (s *Server) versionAt(path string) (schema.GroupVersion, bool) {
	for gv := range s.registry.versions {
		if pathOf(gv) == path {
			return gv, true
		}
	}
	return schema.GroupVersion{}, false
}

// documentHash names a document: what it says changes with the program and with nothing else, so a client keeps it over restarts.
func (s *Server) documentHash(gv schema.GroupVersion) string {
	sum := sha256.Sum256([]byte(gv.String() + " " + s.opts.Version + " " + s.program))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// programMark tells this program's file from that of another build.
func programMark() string {
	st, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	return fmt.Sprint(st.Size(), st.ModTime().UnixNano())
}

func (s *Server) described(gv schema.GroupVersion) []openapi.Resource {
	scheme := manifests.Scheme()
	typeOf := func(kind string) reflect.Type {
		obj, err := scheme.New(gv.WithKind(kind))
		if err != nil {
			return nil
		}
		return reflect.TypeOf(obj)
	}
	var out []openapi.Resource
	for i := range s.registry.all {
		r := &s.registry.all[i]
		if r.Group != gv.Group || r.Version != gv.Version {
			continue
		}
		d := openapi.Resource{GVK: r.GVK(), Name: r.Name, Namespaced: r.Namespaced, Verbs: r.Verbs, Type: typeOf(r.Kind), List: typeOf(r.Kind + "List")}
		if d.Type != nil {
			out = append(out, d)
		}
	}
	return out
}
