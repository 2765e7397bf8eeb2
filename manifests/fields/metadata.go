package fields

// anyObject stands for every type: what its rows say holds where no other does.
const anyObject = "any object"

// metadata is what all objects have in common.
func metadata() []Row {
	return join(
		of(anyObject, honoured("TestDefaults", "apiVersion kind metadata spec")),
		of("meta/v1.ObjectMeta",
			honoured("TestFields/fieldRef", "name"),
			shown("namespace labels annotations"),
			honoured("TestGenerateName", "generateName"),
			noted("TestHash", "the server's to set: what a file says is left aside", "uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds managedFields selfLink"),
			notEnforced("what leaves the files goes: nothing holds it back", "finalizers"),
			notEnforced("who owns what follows from the files", "ownerReferences"),
		),
		of("meta/v1.LabelSelector", honoured("reconcile/claim.TestPlan/a selector", "matchLabels"), honoured("reconcile/claim.TestPlan/a selector by expression", "matchExpressions")),
		of("meta/v1.LabelSelectorRequirement", honoured("reconcile/claim.TestPlan/a selector by expression", "key operator values")),
		of("core/v1.NamespaceSpec", notEnforced("what leaves the files goes: nothing holds it back", "finalizers")),
		of("core/v1.LocalObjectReference", honoured("TestPullWithPassword", "name")),
	)
}
