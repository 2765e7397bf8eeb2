package table

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func (t at) service(o *corev1.Service) []any {
	ip := "<none>"
	if len(o.Spec.ClusterIPs) > 0 {
		ip = o.Spec.ClusterIPs[0]
	}
	var ports []string
	for _, p := range o.Spec.Ports {
		if p.NodePort > 0 {
			ports = append(ports, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return []any{
		o.Name, string(o.Spec.Type), ip, externalIP(o), orNone(strings.Join(ports, ",")), t.age(o), labels.FormatLabels(o.Spec.Selector),
	}
}

func externalIP(o *corev1.Service) string {
	switch o.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orNone(strings.Join(o.Spec.ExternalIPs, ","))
	case corev1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range o.Status.LoadBalancer.Ingress {
			all = append(all, in.IP+in.Hostname)
		}
		if all = append(sorted(all), o.Spec.ExternalIPs...); len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	case corev1.ServiceTypeExternalName:
		return o.Spec.ExternalName
	}
	return "<unknown>"
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

func (t at) endpoints(o *corev1.Endpoints) []any { // deprecated, and still served
	var list []string
	for _, s := range o.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				list = append(list, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	text := some(list)
	if len(o.Subsets) == 0 {
		text = "<none>"
	}
	return []any{o.Name, text, t.age(o)}
}

func (t at) endpointSlice(o *discoveryv1.EndpointSlice) []any {
	var ports, addresses []string
	for _, p := range o.Ports {
		switch {
		case p.Port != nil:
			ports = append(ports, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			ports = append(ports, *p.Name)
		default:
			ports = append(ports, "*")
		}
	}
	for _, e := range o.Endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	unset := func(s string) string {
		if s == "" {
			return "<unset>"
		}
		return s
	}
	return []any{o.Name, string(o.AddressType), unset(some(ports)), unset(some(addresses)), t.age(o)}
}

func (t at) ingress(o *networkingv1.Ingress) []any {
	var hosts, addresses []string
	for _, r := range o.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	for _, in := range o.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			addresses = append(addresses, in.IP)
		} else if in.Hostname != "" {
			addresses = append(addresses, in.Hostname)
		}
	}
	ports, all := "80", some(hosts)
	if len(o.Spec.TLS) > 0 {
		ports = "80, 443"
	}
	if all == "" {
		all = "*"
	}
	return []any{o.Name, deref(o.Spec.IngressClassName, "<none>"), all, strings.Join(sorted(addresses), ","), ports, t.age(o)}
}

func (t at) ingressClass(o *networkingv1.IngressClass) []any {
	name, parameters := o.Name, "<none>"
	if o.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
		name += " (default)"
	}
	if p := o.Spec.Parameters; p != nil {
		parameters = p.Kind
		if p.APIGroup != nil {
			parameters += "." + *p.APIGroup
		}
		parameters += "/" + p.Name
	}
	return []any{name, o.Spec.Controller, parameters, t.age(o)}
}

func parentOf(p *networkingv1.ParentReference) string {
	if p == nil {
		return "<none>"
	}
	gr := schema.GroupResource{Group: p.Group, Resource: p.Resource}
	parts := []string{strings.ToLower(gr.String()), p.Namespace, p.Name}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

func (t at) binding(o Object, role *rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		}
	}
	return []any{o.GetName(), role.Kind + "/" + role.Name, t.age(o), strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}
