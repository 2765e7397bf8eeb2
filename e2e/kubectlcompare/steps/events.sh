running web 1
kubectl scale deployment web --replicas=2 >/dev/null
ready deployment web 2

## of the deployment
kubectl events --for deployment/web
## listed
kubectl get events --field-selector involvedObject.kind=Deployment
## listed wide
kubectl get events --field-selector involvedObject.kind=Deployment -o wide
## of the replica set, in any order
kubectl get events --field-selector involvedObject.kind=ReplicaSet | sort
## of the pods, in any order
says Scheduled kubectl get events --field-selector involvedObject.kind=Pod
kubectl get events --field-selector involvedObject.kind=Pod | sort | uniq
## as yaml
kubectl get events --field-selector involvedObject.kind=Deployment --sort-by=.metadata.creationTimestamp -o yaml
## of the newer group
kubectl get events.events.k8s.io --field-selector regarding.kind=Deployment
## by type
kubectl events --types=Warning
## of what is not there
kubectl events --for deployment/none
## unknown field selector
kubectl get events --field-selector nothing=1
