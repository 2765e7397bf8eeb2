package api

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// What Go forgives others do not: OpenSSL takes a certificate for self-signed whose issuer has its name, and since Python 3.13 wants each to name the key that signed it.
func TestCertificatesSuitOpenSSL(t *testing.T) {
	dir := t.TempDir()
	if _, err := makeCredentials(dir, time.Now(), 6443); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, Kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	server, err := os.ReadFile(filepath.Join(dir, credentialsFile))
	if err != nil {
		t.Fatal(err)
	}
	authority := parseFirst(t, k.Clusters[0].Cluster.Authority)
	for name, text := range map[string][]byte{"server": server, "client": k.Users[0].User.Certificate} {
		c := parseFirst(t, text)
		if bytes.Equal(c.RawSubject, c.RawIssuer) {
			t.Errorf("the %s and its issuer are both called %s", name, c.Subject)
		}
		if len(c.AuthorityKeyId) == 0 || !bytes.Equal(c.AuthorityKeyId, authority.SubjectKeyId) {
			t.Errorf("the %s names the key %x of its authority, which has %x", name, c.AuthorityKeyId, authority.SubjectKeyId)
		}
		if err := c.CheckSignatureFrom(authority); err != nil {
			t.Errorf("the %s: %v", name, err)
		}
	}
}

func parseFirst(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("there is no certificate in %q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
