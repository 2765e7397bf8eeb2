package image

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Registries is a registries file: mirrors, credentials and certificates, in the form that k3s reads.
//
//	mirrors:
//	  docker.io:
//	    endpoint: ["https://mirror.example.com"]
//	    rewrite: {"^library/(.*)": "hub/$1"}
//	  "*":
//	    endpoint: ["http://127.0.0.1:5000"]
//	configs:
//	  mirror.example.com:
//	    auth: {username: u, password: p}
//	    tls: {ca_file: /etc/ssl/ours.pem}
type Registries struct {
	Mirrors map[string]Mirror         `yaml:"mirrors"`
	Configs map[string]RegistryConfig `yaml:"configs"`
}

// Mirror answers for a registry, or as "*" for every registry without a mirror of its own. The registry itself is asked last.
type Mirror struct {
	Endpoint []string          `yaml:"endpoint"`
	Rewrite  map[string]string `yaml:"rewrite"`
}

// RegistryConfig is what one host (with port) needs.
type RegistryConfig struct {
	Auth *RegistryAuth `yaml:"auth"`
	TLS  *RegistryTLS  `yaml:"tls"`
}

// RegistryAuth are the credentials for one host.
type RegistryAuth struct {
	Username      string `yaml:"username"`
	Password      string `yaml:"password"`
	Auth          string `yaml:"auth"`
	IdentityToken string `yaml:"identitytoken"`
	Token         string `yaml:"token"`
}

// RegistryTLS says how one host is to be trusted.
type RegistryTLS struct {
	CAFile             string `yaml:"ca_file"`
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// maxRegistriesBytes bounds the file; real ones have a few hundred bytes.
const maxRegistriesBytes = 1 << 20

// ReadRegistries reads a registries file. Neither a file that does not exist nor "" is an error.
func ReadRegistries(path string) (*Registries, error) {
	r := &Registries{}
	if path == "" {
		return r, nil
	}
	data, err := readBounded(path, maxRegistriesBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = r.decode(data)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read registries file %q: %w", path, err)
	}
	return r, nil
}

func (r *Registries) decode(data []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(r); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%w: not a file of at most %d bytes", ErrInvalid, limit)
	}
	return os.ReadFile(path)
}

func (r *Registries) check() error {
	for name, m := range r.Mirrors {
		for _, e := range m.Endpoint {
			if _, err := parseEndpoint(e); err != nil {
				return fmt.Errorf("mirror %q: %w", name, err)
			}
		}
		for pattern := range m.Rewrite {
			if _, err := regexp.Compile(pattern); err != nil {
				return fmt.Errorf("mirror %q: rewrite: %w", name, err)
			}
		}
	}
	for host, c := range r.Configs {
		if c.TLS != nil {
			if _, err := c.TLS.config(); err != nil {
				return fmt.Errorf("config %q: %w", host, err)
			}
		}
	}
	return nil
}

// endpoint is one place where an image may be fetched.
type endpoint struct {
	host string
	// plain allows http: the file says so, or the host is this machine.
	plain bool
	// repository is the path at this place.
	repository string
	// namespace is the registry that a mirror answers for, "" at the registry itself.
	namespace string
}

func parseEndpoint(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("endpoint %q: only http and https are known", s)
	case !hostForm.MatchString(u.Host):
		return nil, fmt.Errorf("endpoint %q: no host", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("endpoint %q: only a host and a path are taken; credentials belong below configs", s)
	}
	if p := strings.TrimSuffix(u.Path, "/"); p != "" && p != "/v2" && !strings.HasPrefix(p, "/v2/") {
		return nil, fmt.Errorf("endpoint %q: a path must start with /v2", s)
	}
	return u, nil
}

// endpoints returns where to look for an image, in order.
func (r *Registries) endpoints(ref Reference) []endpoint {
	host := ref.Registry
	if host == dockerHub {
		host = dockerHubHost
	}
	origin := endpoint{host: host, plain: isLoopback(host), repository: ref.Repository}
	m, ok := r.mirror(ref.Registry)
	if !ok {
		return []endpoint{origin}
	}
	var out []endpoint
	for _, s := range m.Endpoint {
		u, err := parseEndpoint(s)
		if err != nil {
			continue
		}
		e := endpoint{host: u.Host, plain: u.Scheme == "http" || isLoopback(u.Host), repository: m.rewrite(ref.Repository), namespace: ref.Registry}
		if u.Host == origin.host {
			// The file only says how the registry itself is to be reached.
			e.namespace, origin.plain = "", origin.plain || e.plain
		}
		if prefix := strings.Trim(strings.TrimPrefix(u.Path, "/v2"), "/"); prefix != "" {
			e.repository = prefix + "/" + e.repository
		}
		out = append(out, e)
	}
	if !slices.Contains(out, origin) {
		out = append(out, origin)
	}
	return out
}

func (r *Registries) mirror(registry string) (Mirror, bool) {
	for name, m := range r.Mirrors {
		if name != "*" && hubName(name) == registry {
			return m, true
		}
	}
	m, ok := r.Mirrors["*"]
	return m, ok
}

// rewrite applies the first pattern that matches, in alphabetical order: a YAML mapping has none of its own.
func (m Mirror) rewrite(repository string) string {
	patterns := make([]string, 0, len(m.Rewrite))
	for p := range m.Rewrite {
		patterns = append(patterns, p)
	}
	slices.Sort(patterns)
	for _, p := range patterns {
		if re, err := regexp.Compile(p); err == nil && re.MatchString(repository) {
			return re.ReplaceAllString(repository, m.Rewrite[p])
		}
	}
	return repository
}

// config returns what a host needs; Docker Hub goes by any of its names.
func (r *Registries) config(host string) RegistryConfig {
	if c, ok := r.Configs[host]; ok {
		return c
	}
	for name, c := range r.Configs {
		if hubName(name) == dockerHub && hubName(host) == dockerHub {
			return c
		}
	}
	return RegistryConfig{}
}

func (t *RegistryTLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify} //nolint:gosec // the file asks for it
	if t.CAFile != "" {
		pem, err := readBounded(t.CAFile, maxRegistriesBytes)
		if err != nil {
			return nil, err
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%q holds no certificate", t.CAFile)
		}
		cfg.RootCAs = pool
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
