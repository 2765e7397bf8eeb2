package harness

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Server is an API server as the first cluster and the first user of a kubeconfig describe it.
type Server struct {
	URL string
	// TLS trusts the server and carries the user's certificate, if there is one. Clone it before a change.
	TLS *tls.Config
	// Token is what the user shows instead of a certificate; "" for none.
	Token string
}

// Authorize adds the token to a request.
func (s *Server) Authorize(r *http.Request) {
	if s.Token != "" {
		r.Header.Set("Authorization", "Bearer "+s.Token)
	}
}

// ReadKubeconfig reads a kubeconfig without the help of kubectl.
func ReadKubeconfig(path string) (*Server, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c struct {
		Clusters []struct {
			Cluster struct {
				Server    string `json:"server"`
				Authority []byte `json:"certificate-authority-data"`
				File      string `json:"certificate-authority"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
				Key         []byte `json:"client-key-data"`
				Token       string `json:"token"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if len(c.Clusters) == 0 || len(c.Users) == 0 {
		return nil, fmt.Errorf("cannot read %s: it names no cluster or no user", path)
	}
	cluster, user := c.Clusters[0].Cluster, c.Users[0].User
	if cluster.File != "" {
		if !filepath.IsAbs(cluster.File) {
			cluster.File = filepath.Join(filepath.Dir(path), cluster.File)
		}
		if cluster.Authority, err = os.ReadFile(cluster.File); err != nil {
			return nil, err
		}
	}
	s := &Server{URL: cluster.Server, Token: user.Token, TLS: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}}
	s.TLS.RootCAs.AppendCertsFromPEM(cluster.Authority)
	if len(user.Certificate) > 0 {
		cert, err := tls.X509KeyPair(user.Certificate, user.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
		s.TLS.Certificates = []tls.Certificate{cert}
	}
	return s, nil
}
