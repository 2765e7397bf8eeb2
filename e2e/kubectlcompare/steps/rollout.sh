running web 2

## status
kubectl rollout status deployment/web
## history of one
kubectl rollout history deployment/web
## a new image
kubectl set env deployment/web COLOUR=blue
kubectl annotate deployment/web kubernetes.io/change-cause='blue now'
kubectl rollout status deployment/web --timeout=50s >/dev/null
kubectl rollout status deployment/web
## history of two
kubectl rollout history deployment/web
## history of a revision
kubectl rollout history deployment/web --revision=2
## history of a revision that is not there
kubectl rollout history deployment/web --revision=7
## history as yaml
kubectl rollout history deployment/web --revision=1 -o yaml | head -40
## replica sets
kubectl get rs
## undo, what would be
kubectl rollout undo deployment/web --dry-run=server
## undo
kubectl rollout undo deployment/web
kubectl rollout status deployment/web --timeout=50s >/dev/null
kubectl get deployment web -o 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision} {.status.readyReplicas}'
## history after the undo
kubectl rollout history deployment/web
## undo to a revision that is not there
kubectl rollout undo deployment/web --to-revision=9
## pause
kubectl rollout pause deployment/web
## pause again
kubectl rollout pause deployment/web
## paused
says 'DeploymentPaused' kubectl get deployment web -o yaml
kubectl get deployment web -o yaml
kubectl describe deployment web | sed '/^Events/,$d'
## restart while paused
kubectl rollout restart deployment/web
## resume
kubectl rollout resume deployment/web
## resume again
kubectl rollout resume deployment/web
## restart
kubectl rollout restart deployment/web
kubectl rollout status deployment/web --timeout=50s >/dev/null
kubectl get deployment web -o 'jsonpath={.spec.template.metadata.annotations}'
## restart of what is not there
kubectl rollout restart deployment/none
## restart of what has no rollout
kubectl create configmap map >/dev/null
kubectl rollout restart configmap/map
## status of what has no rollout
kubectl rollout status configmap/map
## statefulset
cat >db.yaml <<YAML
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: $IMAGE}]}
YAML
kubectl create -f db.yaml
kubectl rollout status statefulset/db --timeout=50s >/dev/null
kubectl rollout status statefulset/db
kubectl rollout history statefulset/db
kubectl set env statefulset/db A=b
kubectl rollout status statefulset/db --timeout=50s >/dev/null
kubectl rollout history statefulset/db
kubectl rollout undo statefulset/db
kubectl rollout status statefulset/db --timeout=50s >/dev/null
kubectl rollout history statefulset/db
## daemonset
cat >agent.yaml <<YAML
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: $IMAGE}]}
YAML
kubectl create -f agent.yaml
kubectl rollout status daemonset/agent --timeout=50s >/dev/null
kubectl rollout status daemonset/agent
kubectl rollout restart daemonset/agent
kubectl rollout status daemonset/agent --timeout=50s >/dev/null
kubectl rollout history daemonset/agent
