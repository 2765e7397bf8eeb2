package ingress

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"berth/runtime"
)

// rsaPair is a certificate of RSA for a name, signed by itself, PEM.
func rsaPair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private := x509.MarshalPKCS1PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: private})
}

// TestTwoCertificatesOfOneHost: each client is shown the first that it can make use of.
func TestTwoCertificatesOfOneHost(t *testing.T) {
	s := New()
	at := serve(t, s, true)
	var in runtime.Ingress
	for _, of := range []func() ([]byte, []byte){
		func() ([]byte, []byte) { return pair(t, "a.test") },
		func() ([]byte, []byte) { return rsaPair(t, "a.test") },
	} {
		cert, key := of()
		in.Certificates = append(in.Certificates, runtime.Certificate{Cert: cert, Key: key})
	}
	if problems := s.Apply(runtime.Traffic{Ingress: &in}); len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, tt := range map[string]struct {
		config *tls.Config
		want   x509.PublicKeyAlgorithm
	}{
		"who knows both":     {&tls.Config{}, x509.ECDSA},
		"who knows RSA only": {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, x509.RSA},
	} {
		t.Run(name, func(t *testing.T) {
			tt.config.ServerName, tt.config.InsecureSkipVerify = "a.test", true
			conn, err := tls.Dial("tcp", at, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := conn.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
