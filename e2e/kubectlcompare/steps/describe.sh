running web 2
cat >rich.yaml <<YAML
apiVersion: v1
kind: Pod
metadata: {name: rich, labels: {app: rich, tier: back}, annotations: {note: words}}
spec:
  terminationGracePeriodSeconds: 1
  hostname: host
  dnsPolicy: Default
  priority: 0
  tolerations: [{key: a, operator: Equal, value: b, effect: NoSchedule}]
  nodeSelector: {kubernetes.io/os: linux}
  volumes:
  - {name: empty, emptyDir: {sizeLimit: 10Mi}}
  - {name: map, configMap: {name: map, optional: true}}
  - {name: all, projected: {sources: [{configMap: {name: map}}, {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]}}
  initContainers:
  - {name: first, image: $IMAGE, command: ["/bin/true"]}
  containers:
  - name: main
    image: $IMAGE
    imagePullPolicy: IfNotPresent
    ports: [{containerPort: 8080, name: http}, {containerPort: 53, protocol: UDP}]
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: "1", memory: 64Mi}}
    env:
    - {name: PLAIN, value: text}
    - {name: KEY, valueFrom: {configMapKeyRef: {name: map, key: k}}}
    - {name: SECRET, valueFrom: {secretKeyRef: {name: secret, key: k, optional: true}}}
    - {name: FIELD, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: RESOURCE, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    envFrom: [{configMapRef: {name: map}, prefix: M_}]
    livenessProbe: {exec: {command: ["true"]}, periodSeconds: 20, initialDelaySeconds: 1}
    readinessProbe: {exec: {command: ["true"]}, timeoutSeconds: 2}
    volumeMounts: [{name: empty, mountPath: /empty}, {name: map, mountPath: /map, readOnly: true}, {name: all, mountPath: /all}]
  - {name: second, image: $IMAGE}
YAML
kubectl create configmap map --from-literal=k=v >/dev/null
kubectl create -f rich.yaml >/dev/null
ready pod rich 2
waiting big
pod same 'resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 10m, memory: 16Mi}}' | kubectl create -f - >/dev/null
ready pod same 1

## pod
kubectl describe pod rich
## a pod without words of its own
kubectl describe "$(kubectl get pods -l app=web -o name | head -1)"
## a pod that cannot be scheduled
kubectl get pod big; kubectl describe pod big
## a pod that cannot be scheduled, as yaml
kubectl get pod big -o yaml
## quality of service
kubectl get pods -o 'custom-columns=APP:.metadata.labels.app,QOS:.status.qosClass' --sort-by=.metadata.name
## deployment
kubectl describe deployment web
## replica set
kubectl describe rs
## namespace
kubectl describe namespace describe
## node
kubectl describe node | sed -E 's/[0-9]+(Ki|Mi|m)?( \([0-9]+%\))?//g' | head -60
## by prefix
kubectl describe pod ric | head -3
## without events
kubectl describe deployment web --show-events=false
## no such object
kubectl describe deployment none
## no such kind
kubectl describe nothing none
