package api

import (
	"net/http"
	"strings"
)

// serveOldOpenAPI answers /openapi/v2, which kubectl and helm ask for before they send a List: they would check its objects themselves, and end
// where there is no document. This one describes nothing, which they take for nothing to check; the server checks each object as it comes.
func (s *Server) serveOldOpenAPI(w http.ResponseWriter, hr *http.Request) error {
	const title = "Kubernetes"
	if !strings.Contains(hr.Header.Get("Accept"), oldOpenAPI) {
		return s.write(w, hr, http.StatusOK, map[string]any{
			"swagger": "2.0", "info": map[string]string{"title": title, "version": kubernetesVersion}, "paths": map[string]any{},
		})
	}
	// The message Document of the gnostic project: swagger is field 1, info 2 (of title 1 and version 2), paths 8.
	field := func(number byte, value []byte) []byte {
		return append([]byte{number<<3 | 2, byte(len(value))}, value...)
	}
	info := append(field(1, []byte(title)), field(2, []byte(kubernetesVersion))...)
	doc := append(append(field(1, []byte("2.0")), field(2, info)...), field(8, nil)...)
	w.Header().Set("Content-Type", strings.ReplaceAll(oldOpenAPI, "@", ".")) // what is asked for cannot be read as a media type
	_, err := w.Write(doc)
	return err
}

const oldOpenAPI = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
