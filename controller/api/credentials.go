package api

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	// credentialsFile has what the server needs in RUN-DIR: its certificate with its key, and the certificate of the authority. The authority's own key is
	// forgotten once it has signed: nobody can make further certificates.
	credentialsFile = "kube.pem"
	// Kubeconfig is what kubectl reads in RUN-DIR: address, authority, and the key that lets in.
	Kubeconfig = "kubeconfig"
	// certificateLasts is longer than a machine stays up: a reboot makes new ones.
	certificateLasts = 10 * 365 * 24 * time.Hour
	// certificateLeft is how long what is found must still last.
	certificateLeft = 365 * 24 * time.Hour
	// adminName and adminGroup are who the certificate of the kubeconfig stands for; the group may do everything, as in Kubernetes.
	adminName  = "berth-admin"
	adminGroup = "system:masters"
)

// credentials are what a server is known by, and whom it lets in.
type credentials struct {
	certificate tls.Certificate
	authority   *x509.CertPool
	port        int // that of the kubeconfig; 0 for any
}

// kubeconfig is the part of a kubeconfig that berth writes and reads.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server    string `json:"server"`
		Authority []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Certificate []byte `json:"client-certificate-data"`
		Key         []byte `json:"client-key-data"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// readCredentials returns what an earlier server of the directory left, so that clients go on as if nothing had been; an error when it cannot be used.
func readCredentials(dir string, now time.Time) (*credentials, error) {
	data, err := os.ReadFile(filepath.Join(dir, credentialsFile))
	if err != nil {
		return nil, err
	}
	config, err := os.ReadFile(filepath.Join(dir, Kubeconfig))
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(config, &k); err != nil || len(k.Clusters) != 1 {
		return nil, errors.Join(err, errors.New("it is not as berth wrote it"))
	}
	if !bytes.Contains(data, bytes.TrimSpace(k.Clusters[0].Cluster.Authority)) {
		return nil, errors.New("it belongs to another authority")
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	if cert.Leaf == nil || now.Add(certificateLeft).After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore) {
		return nil, errors.New("its certificate is not valid for long")
	}
	c := &credentials{certificate: cert, authority: x509.NewCertPool()}
	if !c.authority.AppendCertsFromPEM(k.Clusters[0].Cluster.Authority) {
		return nil, errors.New("it has no authority")
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(k.Clusters[0].Cluster.Server, "https://"))
	if err != nil {
		return nil, err
	}
	_, err = fmt.Sscan(port, &c.port)
	return c, err
}

// makeCredentials makes an authority, a server, and a client, and writes them; the kubeconfig names the port.
func makeCredentials(dir string, now time.Time, port int) (*credentials, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	authority := &x509.Certificate{ // not the server's name: OpenSSL takes a certificate whose issuer is called as it is itself for self-signed
		Subject: pkix.Name{CommonName: "berth-authority"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	authorityDER, err := sign(authority, authority, &authorityKey.PublicKey, authorityKey, now)
	if err != nil {
		return nil, err
	}
	if authority, err = x509.ParseCertificate(authorityDER); err != nil { // it has the identifier of its key now, which what it signs has to name
		return nil, fmt.Errorf("cannot read the authority's certificate: %w", err)
	}
	serverPEM, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "berth"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, authorityKey, now)
	if err != nil {
		return nil, err
	}
	clientPEM, err := issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: adminName, Organization: []string{adminGroup}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority, authorityKey, now)
	if err != nil {
		return nil, err
	}
	authorityPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityDER})
	if err := replaceFile(filepath.Join(dir, credentialsFile), append(append([]byte{}, serverPEM...), authorityPEM...)); err != nil {
		return nil, err
	}
	if err := writeKubeconfig(dir, port, authorityPEM, clientPEM); err != nil {
		return nil, err
	}
	return readCredentials(dir, now)
}

// sign makes a certificate of a key.
func sign(cert, parent *x509.Certificate, key *ecdsa.PublicKey, by *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	cert.SerialNumber = serial
	cert.NotBefore, cert.NotAfter = now.Add(-24*time.Hour), now.Add(certificateLasts) // a clock may be set back a little
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key, by)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate: %w", err)
	}
	return der, nil
}

// issue makes a certificate with a key of its own, as PEM: certificate first, key second.
func issue(cert, parent *x509.Certificate, by *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	der, err := sign(cert, parent, &key.PublicKey, by, now)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a key: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}

func writeKubeconfig(dir string, port int, authority, client []byte) error {
	_, key := pem.Decode(client)
	k := kubeconfig{APIVersion: "v1", Kind: "Config", CurrentContext: "berth"}
	cluster, user, context := namedCluster{Name: "berth"}, namedUser{Name: "berth"}, namedContext{Name: "berth"}
	cluster.Cluster.Server, cluster.Cluster.Authority = fmt.Sprintf("https://127.0.0.1:%d", port), authority
	user.User.Certificate, user.User.Key = client[:len(client)-len(key)], key
	context.Context.Cluster, context.Context.User = "berth", "berth"
	k.Clusters, k.Users, k.Contexts = []namedCluster{cluster}, []namedUser{user}, []namedContext{context}
	data, err := yaml.Marshal(k)
	if err != nil {
		return fmt.Errorf("cannot encode the kubeconfig: %w", err)
	}
	return replaceFile(filepath.Join(dir, Kubeconfig), data)
}

// replaceFile writes a file that only its owner may read, as a whole or not at all.
func replaceFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) { // its mode would stay
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
