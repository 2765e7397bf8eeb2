running web 1
pod one | kubectl create -f - >/dev/null

## ready
kubectl wait --for=condition=Ready pod/one --timeout=30s
## available
kubectl wait --for=condition=available deployment/web --timeout=30s
## a path
kubectl wait --for=jsonpath='{.status.readyReplicas}'=1 deployment/web --timeout=30s
## a path that exists
kubectl wait --for=jsonpath='{.status.phase}' pod/one --timeout=30s
## in vain
kubectl wait --for=condition=Never pod/one --timeout=1s
## all pods
kubectl wait --for=condition=Ready pods --all --timeout=30s
## not there
kubectl wait --for=condition=Ready pod/none --timeout=1s
## nothing matches
kubectl wait --for=condition=Ready pods -l app=nothing --timeout=1s
## creation
meanwhile kubectl wait --for=create configmap/later --timeout=20s
kubectl create configmap later >/dev/null
wait
## deletion
meanwhile kubectl wait --for=delete pod/one --timeout=30s
kubectl delete pod one --wait=false
wait
## deletion of what is not there
kubectl wait --for=delete pod/one --timeout=5s
