package fields

// workloads is what keeps pods running.
func workloads() []Row {
	return join(
		of("apps/v1.DeploymentSpec",
			honoured("TestScale", "replicas selector"),
			honoured("TestRollingUpdate", "template strategy"),
			honoured("TestPlan", "minReadySeconds paused"),
			honoured("TestHistory", "revisionHistoryLimit"),
			honoured("TestProgress", "progressDeadlineSeconds"),
		),
		of("apps/v1.DeploymentStrategy", honoured("TestRecreate", "type"), honoured("TestRollingUpdate", "rollingUpdate")),
		of("apps/v1.RollingUpdateDeployment", honoured("TestRollingUpdate", "maxSurge maxUnavailable")),
		of("apps/v1.ReplicaSetSpec",
			honoured("TestNewPods", "replicas template"),
			honoured("TestPlan", "selector minReadySeconds"),
		),
	)
}
