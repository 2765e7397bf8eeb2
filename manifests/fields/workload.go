package fields

// workloads is what keeps pods running.
func workloads() []Row {
	return join(
		of("apps/v1.DeploymentSpec",
			honoured("e2e.TestScale", "replicas"),
			noted("TestImmutableSelector", "a workload has the pods that it made: others of the same labels are not adopted", "selector"),
			honoured("e2e.TestRollingUpdate", "template strategy"),
			honoured("reconcile/deployment.TestPlan", "minReadySeconds paused"),
			honoured("TestHistory", "revisionHistoryLimit"),
			honoured("TestProgress", "progressDeadlineSeconds"),
		),
		of("apps/v1.DeploymentStrategy", honoured("TestRecreate", "type"), honoured("e2e.TestRollingUpdate", "rollingUpdate")),
		of("apps/v1.RollingUpdateDeployment", honoured("e2e.TestRollingUpdate", "maxSurge maxUnavailable")),
		of("apps/v1.ReplicaSetSpec",
			honoured("TestNewPods", "replicas template"),
			honoured("reconcile/replicaset.TestPlan", "minReadySeconds"),
			noted("TestImmutableFieldsOfSets", "a workload has the pods that it made: others of the same labels are not adopted", "selector"),
		),
	)
}
