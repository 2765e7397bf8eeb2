package api

import (
	"mime"
	"net/http/httptest"
	"testing"
)

// kubectl reads the bytes as a message of gnostic, and the media type with the parser that is used here.
func TestOldOpenAPIDescribesNothing(t *testing.T) {
	tests := map[string]struct{ accept, media, body string }{
		"as kubectl asks": {
			"application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
			"\n\x032.0\x12\x15\n\nKubernetes\x12\x07" + kubernetesVersion + "B\x00",
		},
		"as a person asks": {"*/*", "application/json", `{"info":{"title":"Kubernetes","version":"` + kubernetesVersion + `"},"paths":{},"swagger":"2.0"}` + "\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			hr := httptest.NewRequestWithContext(t.Context(), "GET", "/openapi/v2", nil)
			hr.Header.Set("Accept", tt.accept)
			w := httptest.NewRecorder()
			fixture(t).ServeHTTP(w, hr)
			if media, _, err := mime.ParseMediaType(w.Header().Get("Content-Type")); w.Code != 200 || err != nil || media != tt.media {
				t.Errorf("%d, media type %q, %v; want %q", w.Code, media, err, tt.media)
			}
			if w.Body.String() != tt.body {
				t.Errorf("got %q, want %q", w.Body, tt.body)
			}
		})
	}
}
