package pod

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// env returns the environment of a container, and a look-up in it for its command and paths. A later variable may use earlier ones.
func (p *pass) env(c *container, field string) ([]string, func(string) (string, bool), error) {
	for i, from := range c.spec.EnvFrom {
		at := fmt.Sprintf("%s.envFrom[%d]", field, i)
		switch {
		case from.ConfigMapRef != nil:
			return nil, nil, refusal(at+".configMapRef", "ConfigMaps are not supported yet (ConfigMap %q)", from.ConfigMapRef.Name)
		case from.SecretRef != nil:
			return nil, nil, refusal(at+".secretRef", "Secrets are not supported yet (Secret %q)", from.SecretRef.Name)
		}
	}
	values := make(map[string]string, len(c.spec.Env))
	lookup := func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}
	var names []string
	for i := range c.spec.Env {
		v := &c.spec.Env[i]
		text, err := p.envValue(c, v, fmt.Sprintf("%s.env[%d]", field, i), lookup)
		if err != nil {
			return nil, nil, err
		}
		if _, had := values[v.Name]; !had {
			names = append(names, v.Name)
		}
		values[v.Name] = text
	}
	var out []string
	for _, name := range names {
		out = append(out, name+"="+values[name])
	}
	return out, lookup, nil
}

func (p *pass) envValue(c *container, v *corev1.EnvVar, field string, lookup func(string) (string, bool)) (string, error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		text, _ := expand(v.Value, lookup)
		return text, nil
	case from.FieldRef != nil:
		return p.fieldValue(from.FieldRef.FieldPath, field+".valueFrom.fieldRef")
	case from.ResourceFieldRef != nil:
		return p.resourceValue(c, from.ResourceFieldRef, field+".valueFrom.resourceFieldRef")
	case from.ConfigMapKeyRef != nil:
		return "", refusal(field+".valueFrom.configMapKeyRef", "ConfigMaps are not supported yet (ConfigMap %q)", from.ConfigMapKeyRef.Name)
	case from.SecretKeyRef != nil:
		return "", refusal(field+".valueFrom.secretKeyRef", "Secrets are not supported yet (Secret %q)", from.SecretKeyRef.Name)
	}
	return "", refusal(field+".valueFrom", "this source is not supported")
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
		return p.in.Node.HostIP, nil
	case "status.podIP", "status.podIPs":
		if ip := p.address(); ip != "" {
			return ip, nil
		}
		return "", errNoAddress
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
