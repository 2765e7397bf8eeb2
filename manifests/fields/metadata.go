package fields

// metadata is what all objects have in common.
func metadata() []Row {
	var rows []Row
	for _, kind := range []string{
		"core/v1.Pod", "apps/v1.Deployment", "apps/v1.ReplicaSet", "core/v1.PersistentVolume", "core/v1.PersistentVolumeClaim", "core/v1.Namespace",
	} {
		rows = append(rows, of(kind, honoured("TestDefaults", "apiVersion kind metadata spec"))...)
	}
	for _, kind := range []string{"core/v1.ConfigMap", "core/v1.Secret", "core/v1.ServiceAccount", "storage/v1.StorageClass", "node/v1.RuntimeClass"} {
		rows = append(rows, of(kind, honoured("TestDefaults", "apiVersion kind metadata"))...)
	}
	return join(rows,
		of("meta/v1.ObjectMeta",
			honoured("TestFaultsInPlace", "name namespace"),
			honoured("TestIncomplete", "generateName"),
			honoured("TestNewPods", "labels annotations"),
			line(Row{Verdict: Honoured, Test: "TestFaultsInPlace", Text: "the server's to set: what a file says is left aside"},
				"uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds managedFields selfLink"),
			notEnforced("what leaves the files goes: nothing holds it back", "finalizers"),
			notEnforced("who owns what follows from the files", "ownerReferences"),
		),
		of("meta/v1.LabelSelector", honoured("TestPlan", "matchLabels matchExpressions")),
		of("meta/v1.LabelSelectorRequirement", honoured("TestPlan", "key operator values")),
		of("core/v1.NamespaceSpec", notEnforced("what leaves the files goes: nothing holds it back", "finalizers")),
		of("core/v1.LocalObjectReference", honoured("TestPullWithPassword", "name")),
	)
}
