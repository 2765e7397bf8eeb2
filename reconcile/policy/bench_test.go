package policy

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// BenchmarkTableOf makes the table of 100 policies for 300 pods, half of which have a name for a port.
func BenchmarkTableOf(b *testing.B) {
	var in Input
	for i := range 300 {
		in.Pods = append(in.Pods, pod(fmt.Sprint("ns", i%10), fmt.Sprint(i), fmt.Sprintf("10.0.%d.%d", i/250, i%250+2), labels.Set{"app": fmt.Sprint(i % 30), "tier": fmt.Sprint(i % 2)}, port("http", 8080, "TCP")))
	}
	for i := range 100 {
		p := policyOf(b, fmt.Sprint("ns", i%10), `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}, podSelector: {matchLabels: {tier: "0"}}}], ports: [{port: http}]}], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 443}]}]}`)
		p.ObjectMeta = metav1.ObjectMeta{Namespace: p.Namespace, Name: fmt.Sprint(i)}
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": fmt.Sprint(i % 30)}
		p.Spec.Ingress[0].From[1].PodSelector.MatchLabels["app"] = fmt.Sprint(i % 30)
		in.Policies = append(in.Policies, p)
	}
	for b.Loop() {
		TableOf(in)
	}
}
