package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Who asks for a token is told that there are none, and not that the server does not know the word.
func TestTokensAreRefused(t *testing.T) {
	s := fixture(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "robot"}})
	for name, want := range map[string]struct {
		code    int
		message string
	}{
		"robot":  {403, `serviceaccounts "robot" is forbidden: berth issues no tokens`},
		"nobody": {404, `serviceaccounts "nobody" not found`},
	} {
		code, out, _ := askTo(s, "POST", "/api/v1/namespaces/shop/serviceaccounts/"+name+"/token", jsonType, `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{}}`)
		if message, _ := out["message"].(string); code != want.code || !strings.HasPrefix(message, want.message) {
			t.Errorf("%s: %d %v, want %+v", name, code, out, want)
		}
	}
}
