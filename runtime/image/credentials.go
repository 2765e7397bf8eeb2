package image

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"

	"berth/runtime"
)

// login is one way to introduce oneself to a registry.
type login struct {
	from string
	auth authn.Authenticator
}

// logins returns the credentials that may be used at an endpoint, best first and anonymous last. Credentials for one host are never
// tried at another: a mirror gets its own or none. The errors are of files that could not be read.
func (s *Store) logins(at endpoint, given []runtime.Credential) ([]login, []error) {
	var out []login
	for _, c := range given {
		if matchesRegistry(c.Registry, at.host, at.repository) {
			out = append(out, login{"the pod's pull secrets", authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password})})
		}
	}
	var errs []error
	for _, file := range s.authFiles() {
		l, err := fileLogin(file, at)
		if err != nil {
			errs = append(errs, err)
		}
		if l != nil {
			out = append(out, *l)
		}
	}
	if a := s.registries.config(at.host).Auth; a != nil {
		out = append(out, login{s.opts.Registries, authn.FromConfig(authn.AuthConfig{
			Username: a.Username, Password: a.Password, Auth: a.Auth,
			IdentityToken: a.IdentityToken, RegistryToken: a.Token,
		})})
	}
	return append(out, login{"", authn.Anonymous}), errs
}

// authFiles are where docker, podman, buildah and skopeo keep their logins.
func (s *Store) authFiles() []string {
	var files []string
	add := func(dir string, parts ...string) {
		if dir != "" {
			files = append(files, filepath.Join(append([]string{dir}, parts...)...))
		}
	}
	if dir := s.opts.Getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(s.opts.Home, ".docker", "config.json")
	}
	add(s.opts.Getenv("REGISTRY_AUTH_FILE"))
	add(s.opts.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	add(s.opts.Home, ".config", "containers", "auth.json")
	return files
}

// maxAuthBytes bounds an auth file; real ones have a few kilobytes.
const maxAuthBytes = 1 << 20

func fileLogin(file string, at endpoint) (*login, error) {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	if info.Size() > maxAuthBytes {
		return nil, fmt.Errorf("cannot read logins of %q: more than %d bytes", file, maxAuthBytes)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read logins: %w", err)
	}
	defer f.Close()
	cf, err := config.LoadFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read logins of %q: %w", file, err)
	}
	found, err := findLogin(cf, at)
	if err != nil || found == nil {
		return nil, err
	}
	return &login{file, authn.FromConfig(authn.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	})}, nil
}

// findLogin takes the entry with the longest name that matches, or asks the credential helper that the file names for the host.
func findLogin(cf *configfile.ConfigFile, at endpoint) (*types.AuthConfig, error) {
	best := ""
	for key, a := range cf.AuthConfigs {
		filled := a.Username != "" || a.Auth != "" || a.IdentityToken != "" || a.RegistryToken != ""
		if filled && len(key) > len(best) && matchesRegistry(key, at.host, at.repository) {
			best = key
		}
	}
	if best != "" {
		a := cf.AuthConfigs[best]
		return &a, nil
	}
	host := at.host
	if hubName(host) == dockerHub {
		host = "https://index.docker.io/v1/"
	}
	if cf.CredentialsStore == "" && cf.CredentialHelpers[host] == "" {
		return nil, nil
	}
	a, err := cf.GetAuthConfig(host)
	if err != nil {
		return nil, fmt.Errorf("cannot ask credential helper for %s: %w", host, err)
	}
	if a.Username == "" && a.IdentityToken == "" && a.RegistryToken == "" {
		return nil, nil
	}
	return &a, nil
}

// matchesRegistry says whether credentials stored under a name are for a repository at a host. Names are hosts, with a path that the
// repository must begin with, with a scheme, and with "*" in parts of the host, as docker, podman and Kubernetes write them.
func matchesRegistry(stored, host, repository string) bool {
	stored = strings.TrimPrefix(strings.TrimPrefix(stored, "https://"), "http://")
	wantHost, wantPath, _ := strings.Cut(stored, "/")
	if wantPath = strings.Trim(wantPath, "/"); wantPath == "v1" || wantPath == "v2" {
		wantPath = ""
	}
	if !matchesHost(hubName(wantHost), hubName(host)) {
		return false
	}
	return wantPath == "" || repository == wantPath || strings.HasPrefix(repository, wantPath+"/")
}

func matchesHost(pattern, host string) bool {
	if !strings.Contains(pattern, "*") {
		return strings.EqualFold(pattern, host)
	}
	want, have := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
