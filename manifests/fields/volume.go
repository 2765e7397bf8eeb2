package fields

// volumes is where a pod's files come from.
func volumes() []Row {
	return join(
		of("core/v1.Volume",
			honoured("TestVolumes", "name emptyDir"),
			shown("hostPath"),
			honoured("TestRefused", "configMap secret downwardAPI projected"),
			honoured("TestClaimIsProvisioned", "persistentVolumeClaim"),
			honoured("TestEphemeral", "ephemeral"),
			refused("images are not mounted as volumes", "image"),
			refused("berth mounts no file systems of other machines", "nfs iscsi cephfs rbd glusterfs fc azureFile"),
			refused("this machine has no such disk", "awsElasticBlockStore azureDisk cinder flocker gcePersistentDisk photonPersistentDisk portworxVolume quobyte scaleIO storageos vsphereVolume"),
			refused("there are no drivers of volumes", "csi flexVolume"),
			refused("berth runs no git", "gitRepo"),
		),
		of("core/v1.VolumeMount",
			shown("mountPath readOnly subPath subPathExpr"),
			honoured("TestVolumes", "name"),
			honoured("TestMountsOfTheMachine", "mountPropagation"),
			refused("mounts that a container makes would stay on the machine after it", "mountPropagation=Bidirectional"),
			line(Row{Verdict: Honoured, Test: "TestMountsOfTheMachine", Text: "what is mounted below a read-only mount is read-only in any case"}, "recursiveReadOnly"),
		),
		of("core/v1.EmptyDirVolumeSource",
			shown("medium"),
			refused("huge pages are not handed out", "medium=HugePages*"),
			approximated("TestFields/sizeLimit", "only volumes in memory are bounded", "sizeLimit"),
		),
		of("core/v1.HostPathVolumeSource", honoured("TestFields/hostPath", "path"), honoured("TestFields/hostPath.type", "type")),
		of("core/v1.KeyToPath", honoured("TestRefused", "key mode path")),
		of("core/v1.ConfigMapVolumeSource", honoured("TestRefused", "name items defaultMode optional")),
		of("core/v1.SecretVolumeSource", honoured("TestRefused", "secretName items defaultMode optional")),
		of("core/v1.DownwardAPIVolumeSource", honoured("TestRefused", "items defaultMode")),
		of("core/v1.DownwardAPIVolumeFile", honoured("TestRefused", "fieldRef mode path resourceFieldRef")),
		of("core/v1.ProjectedVolumeSource", honoured("TestRefused", "sources defaultMode")),
		of("core/v1.VolumeProjection",
			honoured("TestRefused", "configMap secret downwardAPI"),
			refused("there is no API that a token would open", "serviceAccountToken"),
			refused("there is no authority that would sign it", "clusterTrustBundle podCertificate"),
		),
		of("core/v1.ConfigMapProjection", honoured("TestRefused", "name items optional")),
		of("core/v1.SecretProjection", honoured("TestRefused", "name items optional")),
		of("core/v1.DownwardAPIProjection", honoured("TestRefused", "items")),
		of("core/v1.PersistentVolumeClaimVolumeSource", honoured("TestClaims", "claimName readOnly")),
		of("core/v1.EphemeralVolumeSource", honoured("TestEphemeral", "volumeClaimTemplate")),
		of("core/v1.PersistentVolumeClaimTemplate", honoured("TestEphemeral", "metadata spec")),
	)
}

// configuration is what pods read.
func configuration() []Row {
	return join(
		of("core/v1.ConfigMap", honoured("TestRefused", "data binaryData immutable")),
		of("core/v1.Secret", honoured("TestPullWithPassword", "data type"), honoured("TestRefused", "stringData immutable")),
		of("core/v1.ServiceAccount",
			notEnforced("pods name their own", "imagePullSecrets"),
			notEnforced("there is no API that a token would open", "automountServiceAccountToken secrets"),
		),
	)
}

// storage is volumes that outlive pods.
func storage() []Row {
	const (
		noMounts = "berth mounts no file systems of other machines"
		noDisks  = "this machine has no such disk"
		block    = "the volumes of this machine are directories"
		noSpeed  = "volumes have no classes of speed here"
	)
	return join(
		of("core/v1.PersistentVolumeClaimSpec",
			honoured("TestPlan/access modes", "accessModes"),
			honoured("TestReadWriteOncePod", "accessModes=ReadWriteOncePod"),
			approximated("TestPlan/the smallest that fits", "what is asked for chooses the volume; what is written is not bounded by it", "resources"),
			honoured("TestPlan/a selector", "selector"),
			honoured("TestPlan/no word of a class", "storageClassName"),
			honoured("TestPlan/a named one", "volumeName"),
			honoured("TestClaimIsProvisioned", "volumeMode"),
			refused(block, "volumeMode=Block"),
			refused("volumes are not filled from elsewhere", "dataSource dataSourceRef"),
			notEnforced(noSpeed, "volumeAttributesClassName"),
		),
		of("core/v1.PersistentVolumeSpec",
			honoured("TestPlan/access modes", "accessModes"),
			approximated("TestPlan/the smallest that fits", "it chooses the claim; what is written is not bounded by it", "capacity"),
			honoured("TestPlan/one reserved by name", "claimRef"),
			honoured("TestDeclaredVolumes", "hostPath storageClassName"),
			honoured("TestDeclaredStorage", "local"),
			honoured("TestDeclaredVolumes", "volumeMode"),
			refused(block, "volumeMode=Block"),
			approximated("TestPlanVolume", "the data of a declared volume is never deleted: Delete and Recycle are taken as Retain", "persistentVolumeReclaimPolicy"),
			honoured("TestDeclaredVolumes", "persistentVolumeReclaimPolicy=Retain"),
			notEnforced("directories are not mounted with options", "mountOptions"),
			notEnforced("there is one machine", "nodeAffinity"),
			notEnforced(noSpeed, "volumeAttributesClassName"),
			refused(noMounts, "nfs iscsi cephfs rbd glusterfs fc azureFile"),
			refused(noDisks, "awsElasticBlockStore azureDisk cinder flocker gcePersistentDisk photonPersistentDisk portworxVolume quobyte scaleIO storageos vsphereVolume"),
			refused("there are no drivers of volumes but berth's own, local.berth.dev", "csi"),
			refused("there are no drivers of volumes", "flexVolume"),
		),
		of("core/v1.ObjectReference",
			honoured("TestPlan/one reserved by name", "name namespace"),
			notEnforced("a claim is known by its name", "uid resourceVersion fieldPath"),
		),
		of("core/v1.LocalVolumeSource", honoured("TestDeclaredStorage", "path"), notEnforced("directories have no file system of their own", "fsType")),
		of("storage/v1.StorageClass",
			approximated("TestClaimIsProvisioned", "every class is storage of this machine; kubernetes.io/no-provisioner makes nothing", "provisioner"),
			honoured("TestClassDeletes", "reclaimPolicy"),
			approximated("TestClaimIsProvisioned", "claims are bound at once, before a pod uses them", "volumeBindingMode"),
			honoured("TestClaimIsProvisioned", "volumeBindingMode=Immediate"),
			notEnforced("claims grow in every class", "allowVolumeExpansion"),
			notEnforced("there is one machine", "allowedTopologies"),
			notEnforced("directories are not mounted with options", "mountOptions"),
			notEnforced("they are words to other provisioners", "parameters"),
		),
		of("node/v1.RuntimeClass", notEnforced("there are no other runtimes here", "handler overhead scheduling")),
	)
}
