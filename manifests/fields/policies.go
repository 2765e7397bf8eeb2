package fields

// policies is who may connect to whom.
func policies() []Row {
	const (
		machine = "a pod in the machine's network is the machine to policies, and the machine reaches every pod: probes, Ingress, and whoever is on it"
		names   = "the cluster's DNS counts as pods of kube-system with k8s-app=kube-dns"
		clients = "at published ports the client's own address counts"
	)
	return join(
		of("networking/v1.NetworkPolicySpec",
			honoured("e2e.TestNetworkPolicies", "podSelector ingress egress"),
			honoured("TestNetworkPolicyTable/it is about what goes out only", "policyTypes"),
		),
		of("networking/v1.NetworkPolicyIngressRule",
			noted("e2e.TestNetworkPolicies", machine, "from"),
			honoured("e2e.TestNetworkPolicies", "ports"),
		),
		of("networking/v1.NetworkPolicyEgressRule",
			noted("TestNetworkPolicyAndNames", names, "to"),
			honoured("e2e.TestNetworkPolicies", "ports"),
		),
		of("networking/v1.NetworkPolicyPeer",
			honoured("TestNetworkPolicyTable/pods of its namespace", "podSelector"),
			honoured("TestNetworkPolicyTable/namespaces", "namespaceSelector"),
			honoured("e2e.TestNetworkPolicies", "ipBlock"),
		),
		of("networking/v1.IPBlock",
			noted("TestNetworkPolicyAtPublishedPorts", clients, "cidr"),
			honoured("TestNetworkPolicyTable/a block and what is not of it", "except"),
		),
		of("networking/v1.NetworkPolicyPort",
			honoured("TestNetworkPolicyTable/a protocol", "protocol"),
			honoured("TestNetworkPolicyTable/a name is the target's", "port"),
			honoured("TestNetworkPolicyTable/a range", "endPort"),
		),
	)
}
