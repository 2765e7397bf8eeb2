package pod

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
)

// environment collects variables in the order in which they are first named.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, had := e.values[name]; !had {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// list is NAME=VALUE, in order. What the kernel would cut off is refused; the value may be a secret and is not shown.
func (e *environment) list(field string) ([]string, error) {
	out := make([]string, 0, len(e.names))
	for _, name := range e.names {
		if strings.ContainsRune(e.values[name], 0) {
			return nil, refusal(field+".env", "the value of variable %q has a NUL byte", name)
		}
		out = append(out, name+"="+e.values[name])
	}
	return out, nil
}

// env returns the environment of a container, and a look-up in it for its command and paths. Those of Services come first, then those of whole objects; later
// ones replace earlier ones and may use them.
func (p *pass) env(c *container, field string) ([]string, func(string) (string, bool), error) {
	e := &environment{values: make(map[string]string, len(c.spec.Env))}
	p.links(e)
	for i := range c.spec.EnvFrom {
		if err := p.envFrom(e, &c.spec.EnvFrom[i]); err != nil {
			return nil, nil, err
		}
	}
	for i := range c.spec.Env {
		v := &c.spec.Env[i]
		text, ok, err := p.envValue(c, v, fmt.Sprintf("%s.env[%d]", field, i), e.lookup)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			e.set(v.Name, text)
		}
	}
	list, err := e.list(field)
	return list, e.lookup, err
}

// envFrom takes every key of an object.
func (p *pass) envFrom(e *environment, from *corev1.EnvFromSource) error {
	var c *config.Content
	var err error
	switch {
	case from.ConfigMapRef != nil:
		c, err = p.content(reconcile.KindConfigMap, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		c, err = p.content(reconcile.KindSecret, from.SecretRef.Name, from.SecretRef.Optional)
	}
	if err != nil || c == nil {
		return err
	}
	for _, key := range c.Variables() {
		value, _ := c.Variable(key)
		e.set(from.Prefix+key, value)
	}
	return nil
}

// envValue is false for a variable that is left out: its origin is optional and not there.
func (p *pass) envValue(c *container, v *corev1.EnvVar, field string, lookup func(string) (string, bool)) (string, bool, error) {
	from := v.ValueFrom
	var text string
	var err error
	switch {
	case from == nil:
		text, _ = expand(v.Value, lookup)
	case from.FieldRef != nil:
		text, err = p.fieldValue(from.FieldRef.FieldPath, field+".valueFrom.fieldRef")
	case from.ResourceFieldRef != nil:
		text, err = p.resourceValue(c.spec, from.ResourceFieldRef, field+".valueFrom.resourceFieldRef")
	case from.ConfigMapKeyRef != nil:
		return p.keyValue(reconcile.KindConfigMap, from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		return p.keyValue(reconcile.KindSecret, from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
	case from.FileKeyRef != nil:
		return p.fileValue(from.FileKeyRef)
	default:
		err = refusal(field+".valueFrom", "this source is not supported")
	}
	return text, true, err
}

func (p *pass) keyValue(kind, name, key string, optional *bool) (string, bool, error) {
	c, err := p.content(kind, name, optional)
	if err != nil || c == nil {
		return "", false, err
	}
	value, ok := c.Variable(key)
	if !ok && !isTrue(optional) {
		return "", false, &missing{fmt.Sprintf("couldn't find key %s in %s %s/%s", key, kind, p.pod.Namespace, name)}
	}
	return value, ok, nil
}

// fieldValue reads a field of the Pod, as the downward API names it.
func (p *pass) fieldValue(path, field string) (string, error) {
	switch path {
	case "metadata.name":
		return p.pod.Name, nil
	case "metadata.namespace":
		return p.pod.Namespace, nil
	case "metadata.uid":
		return string(p.pod.UID), nil
	case "metadata.labels":
		return formatted(p.pod.Labels), nil
	case "metadata.annotations":
		return formatted(p.pod.Annotations), nil
	case "spec.nodeName":
		return p.in.Node.Name, nil
	case "spec.serviceAccountName":
		return cmp.Or(p.pod.Spec.ServiceAccountName, "default"), nil // as the server's admission fills it in
	case "status.hostIP", "status.hostIPs":
		host := p.hostAddresses()
		return host.as(path == "status.hostIPs"), nil
	case "status.podIP", "status.podIPs":
		own := p.podAddresses()
		if own[0] == "" {
			return "", errNoAddress
		}
		return own.as(path == "status.podIPs"), nil
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": p.pod.Labels, "metadata.annotations['": p.pod.Annotations} {
		if key, ok := strings.CutPrefix(path, prefix); ok && strings.HasSuffix(key, "']") {
			return values[strings.TrimSuffix(key, "']")], nil
		}
	}
	return "", refusal(field, "field %q is not supported", path)
}

// formatted lists a map as the downward API does: one key="value" a line.
func formatted(m map[string]string) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}
