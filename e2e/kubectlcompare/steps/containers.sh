# The verbs that need a real container are compared in what they refuse: the pods of the cluster may be simulated.
pod one | kubectl create -f - >/dev/null
ready pod one 1
cat >two.yaml <<YAML
apiVersion: v1
kind: Pod
metadata: {name: two}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: a, image: $IMAGE}, {name: b, image: $IMAGE}]}
YAML
kubectl create -f two.yaml >/dev/null
ready pod two 2
waiting big

## logs, not there
kubectl logs none
## logs, no such container
kubectl logs one -c none
## logs of a deployment that is not there
kubectl logs deployment/none
## logs of nothing
kubectl logs -l app=nothing
## logs of what has none
kubectl create configmap map >/dev/null
kubectl logs configmap/map
## logs of a pod without a node
kubectl logs big
## logs with bad options
kubectl logs one --tail=-5
## logs since when
kubectl logs one --since=1s --since-time=2024-01-01T00:00:00Z
## exec, not there
kubectl exec none -- true
## exec, no such container
kubectl exec one -c none -- true
## exec without a command
kubectl exec one
## exec in a pod without a node
kubectl exec big -- true
## attach, not there
kubectl attach none
## attach, no such container
kubectl attach one -c none
## cp, not there
kubectl cp none:/etc/passwd passwd
## cp of two
kubectl cp one:/a two:/b
## cp from nowhere here
kubectl cp nowhere one:/tmp/x
## port-forward, not there
kubectl port-forward pod/none 18081:80
## port-forward of a service that is not there
kubectl port-forward service/none 18081:80
## port-forward without a port
kubectl port-forward pod/one
## port-forward to a name that is not there
kubectl port-forward pod/one 18081:none
## port-forward to a pod without a node
kubectl port-forward pod/big 18081:80
## debug, dry
kubectl debug none --image="$IMAGE"
