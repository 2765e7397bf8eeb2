package fields

// sets is what keeps pods running that are not a Deployment's.
func sets() []Row {
	return join(
		of("apps/v1.StatefulSetSpec",
			honoured("TestScaleDownInOrder", "replicas"),
			honoured("TestImmutableFieldsOfSets", "selector"),
			honoured("reconcile/statefulset.TestRollingUpdate", "template updateStrategy"),
			honoured("TestAPodIsSomebody", "volumeClaimTemplates"),
			honoured("e2e.TestNames", "serviceName"),
			honoured("TestParallelPodsDoNotWait", "podManagementPolicy"),
			honoured("TestTrim", "revisionHistoryLimit"),
			honoured("TestMinReadySecondsIsWaitedFor", "minReadySeconds"),
			honoured("TestClaimsOfAStatefulSetGo", "persistentVolumeClaimRetentionPolicy"),
			honoured("TestOrdinalsStart", "ordinals"),
		),
		of("apps/v1.StatefulSetUpdateStrategy", honoured("reconcile/statefulset.TestOnDelete", "type"), honoured("TestPartition", "rollingUpdate")),
		of("apps/v1.RollingUpdateStatefulSetStrategy", honoured("TestPartition", "partition"), honoured("TestMaxUnavailable", "maxUnavailable")),
		of("apps/v1.StatefulSetPersistentVolumeClaimRetentionPolicy", honoured("TestClaimsOfAStatefulSetGo", "whenDeleted whenScaled")),
		of("apps/v1.StatefulSetOrdinals", honoured("TestOrdinalsStart", "start")),
		of("apps/v1.DaemonSetSpec",
			honoured("TestOnePodOnThisMachine", "selector"),
			honoured("TestTheOldPodGoesFirst", "template"),
			honoured("reconcile/daemonset.TestOnDelete", "updateStrategy"),
			honoured("TestSurge", "minReadySeconds"),
			honoured("TestHistoryIsTrimmed", "revisionHistoryLimit"),
		),
		of("apps/v1.DaemonSetUpdateStrategy", honoured("reconcile/daemonset.TestOnDelete", "type"), honoured("TestSurge", "rollingUpdate")),
		of("apps/v1.RollingUpdateDaemonSet", honoured("TestSurge", "maxSurge"), honoured("TestTheOldPodGoesFirst", "maxUnavailable")),
		of("core/v1.ReplicationControllerSpec",
			honoured("TestMissingPodIsMade", "replicas template selector"),
			honoured("reconcile/replicaset.TestPlan", "minReadySeconds"),
		),
	)
}
