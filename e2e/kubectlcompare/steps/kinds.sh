# One of each kind, made, listed and described.

## daemonset
cat >daemonset.yaml <<YAML
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: $IMAGE}]}
YAML
kubectl create -f daemonset.yaml
says 'agent +1 +1 +1 +1 +1' kubectl get daemonset agent
kubectl get daemonset agent -o wide
kubectl get daemonset agent -o yaml
kubectl describe daemonset agent
## statefulset
cat >statefulset.yaml <<YAML
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: $IMAGE}]}
YAML
kubectl create -f statefulset.yaml
ready statefulset db 2
kubectl get statefulset db -o wide
kubectl get statefulset db -o yaml
kubectl describe statefulset db
kubectl get controllerrevisions -l app=db
## pod of a statefulset
kubectl get pod db-0 -o yaml
## job
cat >job.yaml <<YAML
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  completions: 2
  parallelism: 1
  suspend: true
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: $IMAGE, args: ["true"]}]}
YAML
kubectl create -f job.yaml
says 'Suspended' kubectl get job work
kubectl get job work -o wide
kubectl get job work -o yaml
kubectl describe job work
## cronjob
cat >cronjob.yaml <<YAML
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  timeZone: Europe/Berlin
  jobTemplate:
    spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: main, image: $IMAGE}]}}}
YAML
made cronjob nightly
kubectl get cronjob nightly -o yaml
kubectl describe cronjob nightly
## replication controller
cat >rc.yaml <<YAML
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 0
  selector: {app: old}
  template:
    metadata: {labels: {app: old}}
    spec: {containers: [{name: main, image: $IMAGE}]}
YAML
made rc old
kubectl describe rc old
## services
cat >service.yaml <<YAML
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80, targetPort: 8080, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: v1
kind: Service
metadata: {name: node}
spec: {type: NodePort, selector: {app: db}, ports: [{port: 80, targetPort: 8080, nodePort: 30781}]}
YAML
kubectl create -f service.yaml
kubectl get services -o wide
kubectl get service headless -o yaml
kubectl get service elsewhere -o yaml
kubectl get service node -o yaml
## services described
says 'Endpoints: +[0-9]' kubectl describe service node
kubectl describe service node
kubectl describe service headless
kubectl describe service elsewhere
## ingress
cat >ingress.yaml <<YAML
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec:
  ingressClassName: none
  tls: [{hosts: [a.example.org], secretName: cert}]
  rules:
  - host: a.example.org
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: node, port: {number: 80}}}}]
YAML
made ingress front
kubectl get ingress front -o yaml
kubectl describe ingress front
## network policy
cat >networkpolicy.yaml <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: nothing}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}
YAML
made networkpolicy closed
kubectl get networkpolicy closed -o yaml
kubectl describe networkpolicy closed
## configmap and secret
kubectl create configmap one --from-literal=text="$(printf 'two\nlines')"
kubectl create secret generic two --from-literal=a=b
kubectl create secret docker-registry three --docker-server=r.example.org --docker-username=u --docker-password=p
kubectl describe configmap one
kubectl describe secret two three
kubectl get configmap one -o wide
kubectl get secrets
## claim
cat >pvc.yaml <<YAML
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: none, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
YAML
made pvc data
kubectl get pvc data -o yaml
kubectl describe pvc data | grep -v '^ *Normal'
## volume
cat >pv.yaml <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec: {storageClassName: manual, capacity: {storage: 2Gi}, accessModes: [ReadWriteOnce, ReadOnlyMany], hostPath: {path: /srv/none}}
YAML
kubectl create -f pv.yaml
says Available kubectl get pv disk
kubectl get pv disk -o wide
kubectl get pv disk -o yaml
kubectl describe pv disk
kubectl delete pv disk
## storage class
cat >sc.yaml <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: slow}
provisioner: example.org/slow
YAML
made sc slow
kubectl describe sc slow
kubectl get sc slow -o yaml
kubectl delete sc slow
## roles
kubectl create role reader --verb=get,list --resource=pods,deployments.apps
kubectl create rolebinding readers --role=reader --user=ann --group=people --serviceaccount=kinds:default
kubectl create clusterrole all-reader --verb=get --resource=nodes
kubectl create clusterrolebinding all-readers --clusterrole=all-reader --user=ann
kubectl get role reader; kubectl get rolebinding readers -o wide
kubectl get clusterrole all-reader; kubectl get clusterrolebinding all-readers -o wide
kubectl describe role reader
kubectl describe rolebinding readers
kubectl describe clusterrole all-reader
kubectl describe clusterrolebinding all-readers
kubectl delete clusterrole all-reader
kubectl delete clusterrolebinding all-readers
## quota and limits
kubectl create quota small --hard=pods=50,configmaps=20
cat >limits.yaml <<YAML
apiVersion: v1
kind: LimitRange
metadata: {name: most}
spec: {limits: [{type: Container, max: {memory: 4Gi}}]}
YAML
kubectl create -f limits.yaml
kubectl get limits most
kubectl describe limits most
kubectl get quota small -o 'jsonpath={.spec}'
kubectl delete quota small
kubectl delete limits most
## disruption budget
kubectl create poddisruptionbudget half --selector=app=db --min-available=1
says 'half +1 +N/A +1' kubectl get pdb half
kubectl get pdb half
kubectl describe pdb half
kubectl get pdb half -o yaml
## autoscaler
running scaled 1
kubectl autoscale deployment scaled --min=1 --max=3 --cpu-percent=80 2>/dev/null
kubectl get hpa scaled -o yaml | grep -v -E 'condition|lastTransitionTime|message|reason|status:|type: (Able|Scaling)'
## priority class
kubectl create priorityclass high --value=1000 --description=first
kubectl get priorityclass high
kubectl describe priorityclass high
kubectl delete priorityclass high
## lease
cat >lease.yaml <<YAML
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: held}
spec: {holderIdentity: me, leaseDurationSeconds: 10}
YAML
made lease held
kubectl describe lease held
## runtime class
cat >runtimeclass.yaml <<YAML
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: other}
handler: other
YAML
made runtimeclass other
kubectl describe runtimeclass other
kubectl delete runtimeclass other
## ingress class
cat >ingressclass.yaml <<YAML
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: mine}
spec: {controller: example.org/mine}
YAML
made ingressclass mine
kubectl describe ingressclass mine
kubectl delete ingressclass mine
## service account
kubectl create serviceaccount robot
kubectl get sa robot -o yaml
kubectl describe sa robot
## pod template
cat >podtemplate.yaml <<YAML
apiVersion: v1
kind: PodTemplate
metadata: {name: form}
template:
  metadata: {labels: {app: form}}
  spec: {containers: [{name: main, image: $IMAGE}]}
YAML
made podtemplate form
