package acme

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// suffix ends the names of records: NAMESPACE.NAME.json. A namespace has no dot.
const suffix = ".json"

// Kept implements runtime.Certificates.
func (c *Certificates) Kept() ([]runtime.KeptCertificate, error) {
	entries, err := os.ReadDir(c.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the kept certificates: %w", err)
	}
	var out []runtime.KeptCertificate
	var errs []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		k, err := c.read(e.Name())
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot read the kept certificate %s: %w", e.Name(), err))
			continue
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b runtime.KeptCertificate) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, errors.Join(errs...)
}

func (c *Certificates) read(name string) (k runtime.KeptCertificate, err error) {
	data, err := os.ReadFile(filepath.Join(c.opts.Dir, name))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return k, err
	}
	if fileName(&k) != name {
		return k, errors.New("it is that of another name")
	}
	if len(k.Issued.Cert) > 0 {
		if _, err := tls.X509KeyPair(k.Issued.Cert, k.Issued.Key); err != nil {
			return k, err
		}
	}
	return k, nil
}

func fileName(k *runtime.KeptCertificate) string { return k.Namespace + "." + k.Name + suffix }

// Keep implements runtime.Certificates.
func (c *Certificates) Keep(k runtime.KeptCertificate) error {
	if k.Namespace == "" || k.Name == "" || strings.ContainsAny(k.Namespace, "./\x00") || strings.ContainsAny(k.Name, "/\x00") {
		return fmt.Errorf("cannot keep a certificate of the name %q", k.Namespace+"/"+k.Name)
	}
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("cannot keep a certificate: %w", err)
	}
	return c.write(fileName(&k), data)
}

// write puts a file in the place of the one that is there, for root only, and returns when it is on the disk.
func (c *Certificates) write(name string, data []byte) error {
	err := os.MkdirAll(c.opts.Dir, 0o700)
	if err == nil {
		path := filepath.Join(c.opts.Dir, name)
		err = sys.ReplaceSynced(path, path+".new", 0o600, data)
	}
	if err != nil {
		return fmt.Errorf("cannot keep %s: %w", name, err)
	}
	return nil
}

// account is the key of the account with the authority: one for each authority, made when it is first needed.
func (c *Certificates) account() (crypto.Signer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key != nil {
		return c.key, nil
	}
	name := fmt.Sprintf("account-%.16x.pem", sha256.Sum256([]byte(c.opts.Directory)))
	data, err := os.ReadFile(filepath.Join(c.opts.Dir, name))
	if err == nil {
		if c.key, err = decodeKey(data); err != nil {
			return nil, fmt.Errorf("cannot read the key of the account, %s: %w", name, err)
		}
		return c.key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the key of the account: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a key: %w", err)
	}
	if err := c.write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, err
	}
	c.key = key
	return key, nil
}

func decodeKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return signer, nil
}
