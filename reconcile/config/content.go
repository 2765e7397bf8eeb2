package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Content is what a ConfigMap or a Secret says. It shares its values with the object and is never changed.
type Content struct {
	// Hash is equal for equal content; labels and the like do not count.
	Hash string

	text   map[string]string // a ConfigMap's data
	bytes  map[string][]byte // a ConfigMap's binaryData, a Secret's data
	secret bool
}

// Contents are objects that exist, by name.
type Contents map[Object]*Content

// OfConfigMap is the content of a ConfigMap.
func OfConfigMap(m *corev1.ConfigMap) *Content {
	return newContent(&Content{text: m.Data, bytes: m.BinaryData})
}

// OfSecret is the content of a Secret. Its stringData is in its data already.
func OfSecret(s *corev1.Secret) *Content { return newContent(&Content{bytes: s.Data, secret: true}) }

func newContent(c *Content) *Content {
	h := sha256.New()
	for _, key := range c.Files() {
		c.add(h, key)
	}
	c.Hash = sum(h)
	return c
}

// Variable is the value of a key for an environment: binaryData is none.
func (c *Content) Variable(key string) (string, bool) {
	if c.secret {
		data, ok := c.bytes[key]
		return string(data), ok
	}
	text, ok := c.text[key]
	return text, ok
}

// Variables are the keys that an environment takes, sorted.
func (c *Content) Variables() []string {
	if c.secret {
		return slices.Sorted(maps.Keys(c.bytes))
	}
	return slices.Sorted(maps.Keys(c.text))
}

// File is the value of a key for a volume.
func (c *Content) File(key string) ([]byte, bool) {
	if text, ok := c.text[key]; ok {
		return []byte(text), true
	}
	data, ok := c.bytes[key]
	return data, ok
}

// Files are all keys, sorted. No key is in both data and binaryData: validation sees to it.
func (c *Content) Files() []string {
	keys := slices.AppendSeq(make([]string, 0, len(c.text)+len(c.bytes)), maps.Keys(c.text))
	keys = slices.AppendSeq(keys, maps.Keys(c.bytes))
	slices.Sort(keys)
	return keys
}

// add hashes a key with its value, or with there being none.
func (c *Content) add(h hash.Hash, key string) {
	data, ok := c.File(key)
	size := uint64(len(data)) + 1
	if !ok {
		size = 0
	}
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(key)))
	_, _ = h.Write(binary.LittleEndian.AppendUint64(append(head, key...), size))
	_, _ = h.Write(data)
}

// sum is short: it tells versions of one object apart, nobody attacks it.
func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:8]) }
