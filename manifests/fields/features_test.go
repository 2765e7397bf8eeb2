package fields_test

import (
	"slices"
	"strings"
	"testing"

	"berth/manifests/fields"
)

// features are what manifests in the wild use of Kubernetes, counted over 1650 files of 112 public sources whose pods need no API server,
// the most used first; those that one machine cannot have at all are left out. Each names rows of the table.
var features = []struct{ name, rows string }{
	{"base: containers name/image", "PodSpec.containers Container.name Container.image"},
	{"metadata: labels, annotations, namespace, server-set fields", "ObjectMeta.labels ObjectMeta.annotations ObjectMeta.namespace ObjectMeta.uid"},
	{"workload selector", "DeploymentSpec.selector ReplicaSetSpec.selector LabelSelector.matchLabels LabelSelector.matchExpressions"},
	{"kind Deployment", "Deployment"},
	{"ports (containerPort, name, protocol)", "ContainerPort.containerPort ContainerPort.name ContainerPort.protocol"},
	{"replicas", "DeploymentSpec.replicas ReplicaSetSpec.replicas"},
	{"command/args", "Container.command Container.args"},
	{"volumeMounts (name, mountPath, readOnly)", "VolumeMount.name VolumeMount.mountPath VolumeMount.readOnly"},
	{"kind Service", "Service"},
	{"resources cpu/memory", "ResourceRequirements.limits[cpu] ResourceRequirements.limits[memory] ResourceRequirements.requests[cpu] ResourceRequirements.requests[memory]"},
	{"env name/value", "EnvVar.name EnvVar.value"},
	{"volumes list", "PodSpec.volumes Volume.name"},
	{"kind Pod", "Pod"},
	{"imagePullPolicy", "Container.imagePullPolicy"},
	{"restartPolicy", "PodSpec.restartPolicy"},
	{"readinessProbe", "Container.readinessProbe"},
	{"probe timings", "Probe.initialDelaySeconds Probe.periodSeconds Probe.timeoutSeconds Probe.successThreshold Probe.failureThreshold Probe.terminationGracePeriodSeconds"},
	{"livenessProbe", "Container.livenessProbe"},
	{"Deployment strategy", "DeploymentSpec.strategy DeploymentStrategy.type RollingUpdateDeployment.maxSurge RollingUpdateDeployment.maxUnavailable"},
	{"probe httpGet", "Probe.httpGet HTTPGetAction.path HTTPGetAction.port HTTPGetAction.host HTTPGetAction.scheme HTTPGetAction.httpHeaders"},
	{"volume emptyDir", "Volume.emptyDir EmptyDirVolumeSource.medium=Memory EmptyDirVolumeSource.sizeLimit"},
	{"volume persistentVolumeClaim", "Volume.persistentVolumeClaim PersistentVolumeClaimVolumeSource.claimName PersistentVolumeClaimVolumeSource.readOnly"},
	{"securityContext: users and groups", "SecurityContext.runAsUser SecurityContext.runAsGroup SecurityContext.runAsNonRoot PodSecurityContext.runAsUser PodSecurityContext.runAsGroup PodSecurityContext.runAsNonRoot PodSecurityContext.supplementalGroups"},
	{"volume configMap", "Volume.configMap ConfigMapVolumeSource.items ConfigMapVolumeSource.defaultMode ConfigMapVolumeSource.optional"},
	{"terminationGracePeriodSeconds", "PodSpec.terminationGracePeriodSeconds"},
	{"securityContext: capabilities", "Capabilities.add Capabilities.drop"},
	{"env secretKeyRef", "EnvVarSource.secretKeyRef SecretKeySelector.key SecretKeySelector.optional"},
	{"securityContext: readOnlyRootFilesystem", "SecurityContext.readOnlyRootFilesystem"},
	{"volume secret", "Volume.secret SecretVolumeSource.items SecretVolumeSource.defaultMode SecretVolumeSource.optional"},
	{"securityContext: privileged", "SecurityContext.privileged"},
	{"securityContext: fsGroup", "PodSecurityContext.fsGroup"},
	{"securityContext: allowPrivilegeEscalation", "SecurityContext.allowPrivilegeEscalation"},
	{"kind ConfigMap", "ConfigMap ConfigMap.data ConfigMap.binaryData ConfigMap.immutable"},
	{"kind Job", "Job"},
	{"envFrom", "Container.envFrom EnvFromSource.configMapRef EnvFromSource.secretRef EnvFromSource.prefix"},
	{"initContainers", "PodSpec.initContainers"},
	{"probe exec", "Probe.exec ExecAction.command"},
	{"kind PersistentVolumeClaim", "PersistentVolumeClaim PersistentVolumeClaimSpec.accessModes PersistentVolumeClaimSpec.storageClassName PersistentVolumeClaimSpec.volumeName PersistentVolumeClaimSpec.selector"},
	{"kind StatefulSet", "StatefulSet"},
	{"StatefulSet serviceName", "StatefulSetSpec.serviceName"},
	{"kind ReplicationController", "ReplicationController ReplicationControllerSpec.replicas ReplicationControllerSpec.selector ReplicationControllerSpec.template"},
	{"env fieldRef (downward API)", "EnvVarSource.fieldRef ObjectFieldSelector.fieldPath"},
	{"kind Namespace", "Namespace"},
	{"dnsPolicy", "PodSpec.dnsPolicy PodSpec.dnsPolicy=None PodSpec.dnsPolicy=Default"},
	{"env configMapKeyRef", "EnvVarSource.configMapKeyRef ConfigMapKeySelector.key ConfigMapKeySelector.optional"},
	{"revisionHistoryLimit", "DeploymentSpec.revisionHistoryLimit StatefulSetSpec.revisionHistoryLimit DaemonSetSpec.revisionHistoryLimit"},
	{"kind DaemonSet", "DaemonSet"},
	{"volume hostPath (type)", "Volume.hostPath HostPathVolumeSource.path HostPathVolumeSource.type"},
	{"startupProbe", "Container.startupProbe"},
	{"volumeMounts subPath/subPathExpr", "VolumeMount.subPath VolumeMount.subPathExpr"},
	{"progressDeadlineSeconds", "DeploymentSpec.progressDeadlineSeconds"},
	{"volumeClaimTemplates", "StatefulSetSpec.volumeClaimTemplates"},
	{"kind CronJob", "CronJob CronJobSpec.jobTemplate"},
	{"CronJob schedule/timeZone", "CronJobSpec.schedule CronJobSpec.timeZone"},
	{"Job backoffLimit/activeDeadlineSeconds", "JobSpec.backoffLimit JobSpec.activeDeadlineSeconds"},
	{"terminationMessagePath/Policy", "Container.terminationMessagePath Container.terminationMessagePolicy"},
	{"probe grpc", "Probe.grpc GRPCAction.port GRPCAction.service"},
	{"probe tcpSocket", "Probe.tcpSocket TCPSocketAction.port TCPSocketAction.host"},
	{"kind Secret", "Secret Secret.data Secret.stringData Secret.type Secret.immutable"},
	{"hostNetwork", "PodSpec.hostNetwork"},
	{"lifecycle hooks", "Container.lifecycle Lifecycle.postStart Lifecycle.preStop LifecycleHandler.exec LifecycleHandler.httpGet LifecycleHandler.sleep"},
	{"StatefulSet and DaemonSet updateStrategy", "StatefulSetSpec.updateStrategy StatefulSetUpdateStrategy.type RollingUpdateStatefulSetStrategy.partition DaemonSetSpec.updateStrategy DaemonSetUpdateStrategy.type RollingUpdateDaemonSet.maxUnavailable RollingUpdateDaemonSet.maxSurge"},
	{"CronJob concurrency/history/deadline/suspend", "CronJobSpec.concurrencyPolicy CronJobSpec.successfulJobsHistoryLimit CronJobSpec.failedJobsHistoryLimit CronJobSpec.startingDeadlineSeconds CronJobSpec.suspend"},
	{"Job ttlSecondsAfterFinished", "JobSpec.ttlSecondsAfterFinished"},
	{"Job completions/parallelism/Indexed", "JobSpec.completions JobSpec.parallelism JobSpec.completionMode"},
	{"kind ReplicaSet", "ReplicaSet"},
	{"minReadySeconds", "DeploymentSpec.minReadySeconds ReplicaSetSpec.minReadySeconds StatefulSetSpec.minReadySeconds DaemonSetSpec.minReadySeconds"},
	{"stdin/tty", "Container.stdin Container.tty"},
	{"hostPort/hostIP", "ContainerPort.hostPort ContainerPort.hostIP"},
	{"hostPID/hostIPC", "PodSpec.hostPID PodSpec.hostIPC"},
	{"kind PersistentVolume", "PersistentVolume PersistentVolumeSpec.accessModes PersistentVolumeSpec.hostPath PersistentVolumeSpec.local PersistentVolumeSpec.claimRef"},
	{"securityContext: seccompProfile", "SecurityContext.seccompProfile PodSecurityContext.seccompProfile SeccompProfile.type SeccompProfile.localhostProfile"},
	{"shareProcessNamespace", "PodSpec.shareProcessNamespace"},
	{"volume ephemeral", "Volume.ephemeral EphemeralVolumeSource.volumeClaimTemplate"},
	{"env resourceFieldRef", "EnvVarSource.resourceFieldRef ResourceFieldSelector.resource ResourceFieldSelector.divisor"},
	{"enableServiceLinks", "PodSpec.enableServiceLinks"},
	{"Job suspend/manualSelector", "JobSpec.suspend JobSpec.manualSelector"},
	{"StatefulSet podManagementPolicy", "StatefulSetSpec.podManagementPolicy"},
	{"imagePullSecrets", "PodSpec.imagePullSecrets"},
	{"sidecar", "Container.restartPolicy"},
	{"volume downwardAPI", "Volume.downwardAPI DownwardAPIVolumeSource.items DownwardAPIVolumeFile.fieldRef DownwardAPIVolumeFile.resourceFieldRef"},
	{"volume projected", "Volume.projected VolumeProjection.configMap VolumeProjection.secret VolumeProjection.downwardAPI"},
	{"hostname/subdomain", "PodSpec.hostname PodSpec.subdomain"},
	{"mountPropagation", "VolumeMount.mountPropagation"},
	{"workingDir", "Container.workingDir"},
	{"paused", "DeploymentSpec.paused"},
	{"dnsConfig", "PodDNSConfig.nameservers PodDNSConfig.searches PodDNSConfig.options"},
	{"hostAliases", "HostAlias.ip HostAlias.hostnames"},
	{"Job failure/success policies", "JobSpec.podFailurePolicy JobSpec.successPolicy"},
	{"pod activeDeadlineSeconds", "PodSpec.activeDeadlineSeconds"},
	{"schedulingGates", "PodSpec.schedulingGates"},
	{"volume image (OCI)", "Volume.image"},
	{"env fileKeyRef", "EnvVarSource.fileKeyRef"},
}

// later are rows that wait for something berth has not yet.
var later = []string{
	"JobSpec.ttlSecondsAfterFinished", // on purpose: a Job that a file states would run again
}

// What is much used is honoured. A row that comes to be honoured is to be taken from later.
func TestFeatures(t *testing.T) {
	verdicts := map[string]fields.Verdict{}
	for _, r := range fields.Rows() {
		verdicts[r.Name()] = r.Verdict
	}
	whole := 0
	for _, f := range features {
		all := true
		for row := range strings.FieldsSeq(f.rows) {
			verdict := verdicts[row]
			if verdict == "" { // a value or key without a row of its own
				verdict = verdicts[strings.FieldsFunc(row, func(r rune) bool { return r == '=' || r == '[' })[0]]
			}
			is, waits := verdict == fields.Honoured, slices.Contains(later, row)
			all = all && is
			switch {
			case is && waits:
				t.Errorf("%s is honoured: take it from later", row)
			case !is && !waits:
				t.Errorf("%s: %s is %q", f.name, row, verdict)
			}
		}
		if all {
			whole++
		}
	}
	t.Logf("%d of %d features are honoured as a whole", whole, len(features))
}
