package openapi

// What comments beside the types say and Go does not know at run time. A list whose patch tags name a key is merged by that key; these are the others.
var (
	// listKeys are lists that are merged by keys which their patch tags do not name.
	listKeys = map[string][]string{
		"core/v1.Container.ports":                   {"containerPort", "protocol"},
		"core/v1.EphemeralContainerCommon.ports":    {"containerPort", "protocol"},
		"core/v1.PodSpec.topologySpreadConstraints": {"topologyKey", "whenUnsatisfiable"},
		"core/v1.ResourceRequirements.claims":       {"name"},
		"core/v1.ResourceStatus.resources":          {"resourceID"},
		"core/v1.ServiceSpec.ports":                 {"port", "protocol"},
	}
	// atomicLists have patch tags and are replaced as a whole all the same, by server-side apply.
	atomicLists = map[string]bool{
		"batch/v1.JobStatus.conditions": true,
		"core/v1.PodStatus.hostIPs":     true,
	}
	sets = map[string]bool{
		"batch/v1.PodFailurePolicyOnExitCodesRequirement.values": true,
		"batch/v1.UncountedTerminatedPods.failed":                true,
		"batch/v1.UncountedTerminatedPods.succeeded":             true,
		"core/v1.ContainerRestartRuleOnExitCodes.values":         true,
		"core/v1.NodeAllocatableResourceClaimStatus.containers":  true,
		"core/v1.NodeSpec.podCIDRs":                              true,
		"discovery/v1.Endpoint.addresses":                        true,
		"meta/v1.ObjectMeta.finalizers":                          true,
		"storage/v1.CSIDriverSpec.volumeLifecycleModes":          true,
	}
	// atomicMaps and atomicTypes are replaced as a whole.
	atomicMaps = map[string]bool{
		"node/v1.Scheduling.nodeSelector":            true,
		"core/v1.PodSpec.nodeSelector":               true,
		"core/v1.ReplicationControllerSpec.selector": true,
		"core/v1.ServiceSpec.selector":               true,
	}
	atomicTypes = map[string]bool{
		"rbac/v1.RoleRef": true, "rbac/v1.Subject": true,
		"autoscaling/v1.CrossVersionObjectReference": true,
		"core/v1.ConfigMapKeySelector":               true,
		"core/v1.EndpointAddress":                    true,
		"core/v1.EndpointPort":                       true,
		"core/v1.FileKeySelector":                    true,
		"core/v1.LocalObjectReference":               true,
		"core/v1.NodeSelector":                       true,
		"core/v1.NodeSelectorTerm":                   true,
		"core/v1.ObjectFieldSelector":                true,
		"core/v1.ObjectReference":                    true,
		"core/v1.ResourceFieldSelector":              true,
		"core/v1.ScopeSelector":                      true,
		"core/v1.SecretKeySelector":                  true,
		"core/v1.SecretReference":                    true,
		"core/v1.TopologySelectorTerm":               true,
		"core/v1.TypedLocalObjectReference":          true,
		"discovery/v1.EndpointPort":                  true,
		"meta/v1.LabelSelector":                      true,
		"meta/v1.OwnerReference":                     true,
		"networking/v1.ServiceBackendPort":           true,
	}
	// defaults are those that are part of a list's key.
	defaults = map[string]string{
		"core/v1.ContainerPort.protocol": "TCP",
		"core/v1.ServicePort.protocol":   "TCP",
	}
	// required are the fields that must be there of the types whose JSON tags say otherwise.
	required = map[string][]string{
		"apps/v1.DaemonSetSpec":                           {"selector", "template"},
		"apps/v1.DeploymentSpec":                          {"selector", "template"},
		"apps/v1.ReplicaSetSpec":                          {"selector"},
		"apps/v1.StatefulSetOrdinals":                     {},
		"apps/v1.StatefulSetSpec":                         {"selector", "template"},
		"apps/v1.StatefulSetStatus":                       {"replicas"},
		"autoscaling/v1.HorizontalPodAutoscaler":          {"spec"},
		"autoscaling/v2.HorizontalPodAutoscaler":          {"spec"},
		"autoscaling/v2.HorizontalPodAutoscalerStatus":    {"desiredReplicas"},
		"batch/v1.CronJob":                                {"spec"},
		"batch/v1.PodFailurePolicyOnPodConditionsPattern": {"type"},
		"core/v1.ContainerImage":                          {},
		"core/v1.ContainerRestartRule":                    {"action"},
		"core/v1.ContainerRestartRuleOnExitCodes":         {"operator"},
		"core/v1.Event":                                   {"involvedObject", "metadata"},
		"core/v1.ImageVolumeStatus":                       {"imageRef"},
		"core/v1.NodeRuntimeHandler":                      {},
		"core/v1.PodCertificateProjection":                {"keyType", "signerName"},
		"core/v1.ProjectedVolumeSource":                   {},
		"core/v1.ScaleIOPersistentVolumeSource":           {"gateway", "secretRef", "system"},
		"core/v1.ScaleIOVolumeSource":                     {"gateway", "secretRef", "system"},
		"discovery/v1.EndpointSlice":                      {"addressType"},
		"networking/v1.HTTPIngressPath":                   {"backend", "pathType"},
		"networking/v1.IPAddress":                         {"spec"},
		"networking/v1.IPAddressSpec":                     {"parentRef"},
		"networking/v1.NetworkPolicySpec":                 {},
		"networking/v1.ParentReference":                   {"name", "resource"},
		"policy/v1.PodDisruptionBudgetStatus":             {},
		"rbac/v1.ClusterRole":                             {},
		"rbac/v1.Role":                                    {},
		"rbac/v1.RoleRef":                                 {"kind", "name"},
		"scheduling/v1.PriorityClass":                     {},
		"storage/v1.CSINodeDriver":                        {"name", "nodeID"},
	}
)
