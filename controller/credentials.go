package controller

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// dockerConfig is the part of Docker's configuration file that holds credentials.
type dockerConfig struct {
	Auths map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Auth     string `json:"auth"`
	} `json:"auths"`
}

// credentials reads the imagePullSecrets that a pull names. A Secret that is not there, or holds something else, gives none: the registry will say so.
// A Secret that comes or changes later makes its pods due, and their images are tried again at once.
func (c *Controller) credentials(a reconcile.PullImage) []runtime.Credential {
	var out []runtime.Credential
	var missing []string
	for _, name := range a.Secrets {
		secret, ok := store.Get[*corev1.Secret](c.store, reconcile.Key{Kind: "Secret", Namespace: a.Pod.Namespace, Name: name})
		if !ok {
			missing = append(missing, name)
			continue
		}
		var cfg dockerConfig
		switch secret.Type {
		case corev1.SecretTypeDockerConfigJson:
			_ = json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &cfg) // an unreadable one gives none
		case corev1.SecretTypeDockercfg:
			_ = json.Unmarshal(secret.Data[corev1.DockerConfigKey], &cfg.Auths)
		default: // something else: none
		}
		for _, host := range slices.Sorted(maps.Keys(cfg.Auths)) {
			auth := cfg.Auths[host]
			user, password := auth.Username, auth.Password
			if plain, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil && auth.Auth != "" {
				user, password, _ = strings.Cut(string(plain), ":")
			}
			out = append(out, runtime.Credential{Registry: registryHost(host), Username: user, Password: password})
		}
	}
	if len(missing) > 0 {
		c.events.add(reconcile.RecordEvent{
			Key: a.Pod, Warning: true, Reason: "FailedToRetrieveImagePullSecret",
			Message: fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")),
		})
	}
	return out
}

// registryHost is the host of a key of "auths", which may be a URL.
func registryHost(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	return host
}
