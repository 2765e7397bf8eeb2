package fields

// kinds says what becomes of kinds as a whole. Kinds that are acted on have rows for their fields.
func kinds() []Row {
	kind := func(r Row, names ...string) []Row {
		var rows []Row
		for _, n := range names {
			r.Type = n
			rows = append(rows, r)
		}
		return rows
	}
	runs := func(test, name string) []Row { return kind(Row{Verdict: Honoured, Test: test}, name) }
	none := func(text string, names ...string) []Row { return kind(Row{Verdict: NotEnforced, Text: text}, names...) }
	const (
		noRoles = "whoever has the kubeconfig may do everything: no role is asked"
		noOne   = "nothing here acts on it: no webhook is asked, no request signed or queued"
		noNodes = "there is one machine, and berth needs no description of it"
	)
	return join(
		runs("TestPodFromArchive", "core/v1.Pod"),
		runs("e2e.TestScale", "apps/v1.Deployment"),
		runs("TestNewPods", "apps/v1.ReplicaSet"),
		runs("TestAFinishedJobNeverRunsAgain", "batch/v1.Job"),
		runs("TestCronJob", "batch/v1.CronJob"),
		runs("TestNginxFromConfigMap", "core/v1.ConfigMap"),
		runs("TestConfigFields/secret", "core/v1.Secret"),
		runs("TestClaimIsProvisioned", "core/v1.PersistentVolumeClaim"),
		runs("TestDeclaredVolumes", "core/v1.PersistentVolume"),
		runs("TestClassDeletes", "storage/v1.StorageClass"),
		runs("TestDefaults", "core/v1.Namespace"),
		runs("TestDefaults", "core/v1.ServiceAccount"),
		runs("TestStatefulSet", "apps/v1.StatefulSet"),
		runs("TestDaemonSet", "apps/v1.DaemonSet"),
		runs("TestReplicationController", "core/v1.ReplicationController"),
		runs("TestServiceFollowsItsPods", "core/v1.Service"),
		runs("TestTraffic/endpoints that a file states", "core/v1.Endpoints"),
		runs("TestTraffic/slices that a file states", "discovery/v1.EndpointSlice"),
		runs("TestIngressFollowsServiceAndSecret", "networking/v1.Ingress"),
		runs("TestIngressRules/a class of another", "networking/v1.IngressClass"),
		runs("e2e.TestNetworkPolicies", "networking/v1.NetworkPolicy"),
		runs("TestDisruptionBudget", "policy/v1.PodDisruptionBudget"),
		runs("e2e.TestLeaseElectsOne", "coordination/v1.Lease"),
		runs("e2e.TestAutoscaler", "autoscaling/v2.HorizontalPodAutoscaler"),
		runs("controller.TestAutoscalerOfVersion1", "autoscaling/v1.HorizontalPodAutoscaler"),

		none(noRoles, "rbac/v1.Role", "rbac/v1.RoleBinding", "rbac/v1.ClusterRole", "rbac/v1.ClusterRoleBinding"),
		none(noOne, "admissionregistration/v1.ValidatingWebhookConfiguration", "admissionregistration/v1.MutatingWebhookConfiguration",
			"admissionregistration/v1.ValidatingAdmissionPolicy", "admissionregistration/v1.ValidatingAdmissionPolicyBinding",
			"admissionregistration/v1.MutatingAdmissionPolicy", "admissionregistration/v1.MutatingAdmissionPolicyBinding",
			"certificates/v1.CertificateSigningRequest", "flowcontrol/v1.FlowSchema", "flowcontrol/v1.PriorityLevelConfiguration"),
		none("its kinds are not served: what is of another API group is left alone", "apiextensions/v1.CustomResourceDefinition", "apiregistration/v1.APIService"),
		none("nobody makes pods of it: a template is used by what names none", "core/v1.PodTemplate"),
		none("it is a report, not a wish", "core/v1.Event", "events/v1.Event"),
		none("limits are those that each container states", "core/v1.LimitRange"),
		none("nothing is counted against it", "core/v1.ResourceQuota"),
		none(noNodes, "core/v1.Node", "storage/v1.VolumeAttachment", "storage/v1.CSINode", "storage/v1.CSIDriver", "storage/v1.CSIStorageCapacity"),
		none("volumes have no classes of speed here", "storage/v1.VolumeAttributesClass"),
		none("there are no other runtimes here", "node/v1.RuntimeClass"),
		none("berth keeps revisions of its own", "apps/v1.ControllerRevision"),
		none("berth gives addresses to services itself, from a range of its own", "networking/v1.IPAddress", "networking/v1.ServiceCIDR"),
		none("the older pod has its place first: nothing is preempted", "scheduling/v1.PriorityClass"),
		none("there are no drivers of devices", "resource/v1.ResourceClaim", "resource/v1.ResourceClaimTemplate", "resource/v1.DeviceClass", "resource/v1.ResourceSlice"),

		of("coordination/v1.LeaseSpec",
			noted("e2e.TestLeaseElectsOne", "it is kept for the programs that agree by it; nobody here acts on it", "holderIdentity leaseDurationSeconds acquireTime renewTime leaseTransitions"),
			notEnforced("the programs elect, nobody else does", "strategy preferredHolder"),
		),
	)
}
