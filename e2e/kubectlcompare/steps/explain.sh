## pod
kubectl explain pod
## container
kubectl explain pod.spec.containers
## pod spec
kubectl explain pod.spec
## deployment, with all below
kubectl explain deployment.spec.strategy --recursive
## deployment status
kubectl explain deployment.status
## a field
kubectl explain deployments.spec.replicas
## an enumeration
kubectl explain pod.spec.restartPolicy
## a quantity
kubectl explain pod.spec.containers.resources.limits
## an int or string
kubectl explain service.spec.ports.targetPort
## metadata
kubectl explain configmap.metadata.labels
## service
kubectl explain service.spec
## ingress
kubectl explain ingress.spec.rules.http.paths --recursive
## cronjob
kubectl explain cronjob.spec
## by version
kubectl explain hpa --api-version=autoscaling/v1
## no such field
kubectl explain pod.nothing
## no such kind
kubectl explain nothing
## heads of all
for r in configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services daemonsets deployments replicasets statefulsets horizontalpodautoscalers cronjobs jobs ingresses networkpolicies poddisruptionbudgets roles rolebindings storageclasses priorityclasses leases runtimeclasses endpointslices; do kubectl explain "$r"; done
## pod, everything below
kubectl explain pod --recursive
