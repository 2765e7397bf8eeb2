package fields

// volumes is where a pod's files come from.
func volumes() []Row {
	return join(
		of("core/v1.Volume",
			honoured("TestVolumes", "name emptyDir"),
			shown("hostPath"),
			honoured("TestRefused", "configMap secret downwardAPI projected"),
			honoured("TestRefused", "persistentVolumeClaim ephemeral"),
			refused("images are not mounted as volumes", "image"),
			refused("berth mounts no file systems of other machines", "nfs iscsi cephfs rbd glusterfs fc azureFile"),
			refused("this machine has no such disk", "awsElasticBlockStore azureDisk cinder flocker gcePersistentDisk photonPersistentDisk portworxVolume quobyte scaleIO storageos vsphereVolume"),
			refused("there are no drivers of volumes", "csi flexVolume"),
			refused("berth runs no git", "gitRepo"),
		),
		of("core/v1.VolumeMount",
			shown("mountPath readOnly subPath subPathExpr"),
			honoured("TestVolumes", "name"),
			refused("mounts do not travel between the machine and pods", "mountPropagation"),
			honoured("TestVolumes", "mountPropagation=None"),
			refused("mounts below a mount stay writable", "recursiveReadOnly"),
			honoured("TestVolumes", "recursiveReadOnly=Disabled"),
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
		of("core/v1.PersistentVolumeClaimVolumeSource", honoured("TestRefused", "claimName readOnly")),
		of("core/v1.EphemeralVolumeSource", honoured("TestRefused", "volumeClaimTemplate")),
		of("core/v1.PersistentVolumeClaimTemplate", honoured("TestRefused", "metadata spec")),
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
		later    = "claims are not bound yet"
	)
	return join(
		of("core/v1.PersistentVolumeClaimSpec", notEnforced(later, "accessModes resources selector storageClassName volumeMode volumeName dataSource dataSourceRef volumeAttributesClassName")),
		of("core/v1.PersistentVolumeSpec",
			notEnforced(later, "accessModes capacity claimRef hostPath local mountOptions nodeAffinity persistentVolumeReclaimPolicy storageClassName volumeMode volumeAttributesClassName"),
			refused(noMounts, "nfs iscsi cephfs rbd glusterfs fc azureFile"),
			refused(noDisks, "awsElasticBlockStore azureDisk cinder flocker gcePersistentDisk photonPersistentDisk portworxVolume quobyte scaleIO storageos vsphereVolume"),
			refused("there are no drivers of volumes", "csi flexVolume"),
		),
		of("storage/v1.StorageClass", notEnforced(later, "provisioner parameters reclaimPolicy volumeBindingMode allowVolumeExpansion allowedTopologies mountOptions")),
		of("node/v1.RuntimeClass", notEnforced("there are no other runtimes here", "handler overhead scheduling")),
	)
}
