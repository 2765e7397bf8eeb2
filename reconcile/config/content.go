package config

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Content is what a ConfigMap or a Secret says. It shares its values with the object and is never changed.
type Content struct {
	text   map[string]string // a ConfigMap's data
	bytes  map[string][]byte // a ConfigMap's binaryData, a Secret's data
	secret bool
	keys   []string
	hashes map[string]string
}

// Contents are objects that exist, by name.
type Contents map[Object]*Content

// OfConfigMap is the content of a ConfigMap.
func OfConfigMap(m *corev1.ConfigMap) *Content {
	return newContent(&Content{text: m.Data, bytes: m.BinaryData})
}

// OfSecret is the content of a Secret, whose stringData must be in its data already.
func OfSecret(s *corev1.Secret) *Content { return newContent(&Content{bytes: s.Data, secret: true}) }

// newContent reads everything once: who asks later what has changed, asks often.
func newContent(c *Content) *Content {
	c.keys = slices.AppendSeq(make([]string, 0, len(c.text)+len(c.bytes)), maps.Keys(c.text))
	c.keys = slices.AppendSeq(c.keys, maps.Keys(c.bytes))
	slices.Sort(c.keys)
	c.hashes = make(map[string]string, len(c.keys))
	for _, key := range c.keys {
		data, _ := c.File(key)
		sum := sha256.Sum256(data)
		c.hashes[key] = hex.EncodeToString(sum[:8])
	}
	return c
}

// Hash is equal for equal values of a key, "" for a key that is not there.
func (c *Content) Hash(key string) string { return c.hashes[key] }

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

// Files are all keys, sorted. No key is in both data and binaryData: validation sees to it. The list must not be changed.
func (c *Content) Files() []string { return c.keys }
