## api resources
kubectl api-resources
## api resources wide
kubectl api-resources -o wide
## api resources of a group
kubectl api-resources --api-group=apps -o wide
## api resources by verb
kubectl api-resources --verbs=list,create --namespaced=false -o name
## api resources by category
kubectl api-resources --categories=all
## api versions
kubectl api-versions
## cluster info
kubectl cluster-info
## version
kubectl version
## version as yaml
kubectl version -o yaml | grep -E '^(server|client)|major|minor:|platform'
## auth can-i
kubectl auth can-i create deployments
## auth can-i a subresource
kubectl auth can-i get pods --subresource=log
## auth can-i without such a kind
kubectl auth can-i create nothings
## auth can-i a path
kubectl auth can-i get /readyz
## auth can-i list
kubectl auth can-i --list
## auth whoami
kubectl auth whoami
## groups
kubectl get --raw /apis | tr , '\n' | grep -o '"groupVersion.*' | sort -u
## core
listed /api/v1
## apps
listed /apis/apps/v1
## batch
listed /apis/batch/v1
## networking
listed /apis/networking.k8s.io/v1
## policy
listed /apis/policy/v1
## discovery
listed /apis/discovery.k8s.io/v1
## storage
listed /apis/storage.k8s.io/v1
## autoscaling
listed /apis/autoscaling/v2
## rbac
listed /apis/rbac.authorization.k8s.io/v1
## top pods
kubectl top pods
## top nodes
kubectl top nodes
