package fields

const oneMachine = "there is one machine"

// pods is the pod as a whole.
func pods() []Row {
	return join(
		of("core/v1.PodTemplateSpec", honoured("e2e.TestRollingUpdate", "metadata spec")),
		of("core/v1.PodSpec",
			honoured("TestPodFromArchive", "containers"),
			honoured("TestInitContainers", "initContainers"),
			honoured("e2e.TestVolumes", "volumes"),
			shown("restartPolicy"),
			honoured("TestGracefulEnd", "terminationGracePeriodSeconds"),
			honoured("TestSecurityContext", "securityContext"),
			shown("hostNetwork hostPID hostIPC shareProcessNamespace hostUsers hostname hostAliases setHostnameAsFQDN schedulingGates"),
			honoured("TestImagePullSecrets", "imagePullSecrets"),
			shown("hostnameOverride"),
			honoured("TestFields/dnsConfig.nameservers", "dnsConfig"),

			honoured("TestResolver", "dnsPolicy"),
			honoured("TestFields/dnsPolicy", "dnsPolicy=Default dnsPolicy=None"),
			honoured("TestLifeFields/subdomain", "subdomain"),
			alive("activeDeadlineSeconds"),
			approximated("TestLifeFields/readinessGates", "the pod waits for conditions that nobody can set yet", "readinessGates"),
			honoured("TestServiceLinks", "enableServiceLinks"),
			approximated("TestFields/serviceAccountName", "the name is known in the pod; it opens nothing", "serviceAccountName serviceAccount"),
			notEnforced("berth's API takes no token, and none is mounted", "automountServiceAccountToken"),
			honoured("reconcile/pod.TestRefused", "automountServiceAccountToken=false"),
			notEnforced(oneMachine, "nodeName nodeSelector affinity tolerations topologySpreadConstraints schedulerName schedulingGroup"),
			honoured("reconcile/pod.TestRefused", "nodeSelector[kubernetes.io/os]=linux nodeSelector[beta.kubernetes.io/os]=linux schedulerName=default-scheduler"),
			notEnforced("the older pod has its place first: nothing is preempted", "priorityClassName priority preemptionPolicy"),
			notEnforced("nothing is added to what the containers ask for", "overhead"),
			notEnforced("limits are those of each container", "resources"),
			honoured("reconcile/pod.TestRefused", "os"),
			refused("there are no other runtimes here", "runtimeClassName"),
			refused("there are no drivers of devices", "resourceClaims"),
			refused("they are added to a pod that runs, and not stated in a file", "ephemeralContainers"),
		),
		of("core/v1.HostAlias", honoured("TestFields/hostAliases", "hostnames ip")),
		of("core/v1.PodDNSConfig", honoured("TestFields/dnsConfig.nameservers", "nameservers"),
			honoured("TestFields/dnsConfig.searches", "searches"),
			honoured("TestFields/dnsConfig.options", "options"),
		),
		of("core/v1.PodDNSConfigOption", honoured("TestFields/dnsConfig.options", "name value")),
		of("core/v1.PodSchedulingGate", honoured("TestFields/schedulingGates", "name")),
		of("core/v1.PodOS", refused("this machine runs Linux", "name"), honoured("reconcile/pod.TestRefused", "name=linux")),
	)
}
