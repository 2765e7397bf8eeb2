for n in a b c d; do kubectl create configmap "$n" >/dev/null; kubectl label configmap "$n" name="$n" >/dev/null; done
running web 1
pod one | kubectl create -f - >/dev/null
ready pod one 1

## one
kubectl delete configmap a
## again
kubectl delete configmap a
## ignore not found
kubectl delete configmap a --ignore-not-found
## dry run on the server
kubectl delete configmap b --dry-run=server
kubectl get configmap b -o name
## name only
kubectl delete configmap b -o name
## by selector
kubectl delete configmap -l name=c
## by file
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n' | kubectl delete -f -
## by file again
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n' | kubectl delete -f -
## a pod
kubectl delete pod one
kubectl get pod one
## a pod at once
pod two | kubectl create -f - >/dev/null
ready pod two 1
kubectl delete pod two --grace-period=0 --force
## now
pod three | kubectl create -f - >/dev/null
ready pod three 1
kubectl delete pod three --now
## a deployment
kubectl delete deployment web
says 'No resources' kubectl get pods,rs
kubectl get all
## a deployment in the foreground
running web2 1
kubectl delete deployment web2 --cascade=foreground
kubectl get pods,rs
## orphans
running web3 1
kubectl delete deployment web3 --cascade=orphan
kubectl get rs,pods
kubectl get rs -o 'jsonpath={.items[*].metadata.ownerReferences}'
## everything
kubectl create configmap z >/dev/null
kubectl delete configmaps z,none
## all of a kind
kubectl create secret generic s1 >/dev/null; kubectl create secret generic s2 >/dev/null
kubectl delete secrets --all
## nothing named
kubectl delete configmap
## no such kind
kubectl delete nothing x
## an own namespace
kubectl create namespace delete-more >/dev/null
kubectl create configmap inside -n delete-more >/dev/null
kubectl delete namespace delete-more
kubectl get namespace delete-more
## default namespace
kubectl delete namespace default
## finalizer
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.org/held]}\n' | kubectl create -f -
kubectl delete configmap held --wait=false
kubectl get configmap held -o 'jsonpath={.metadata.finalizers}'
kubectl patch configmap held --type=merge -p '{"metadata":{"finalizers":null}}'
kubectl get configmap held
