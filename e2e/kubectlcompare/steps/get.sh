running web 2
pod one 'env: [{name: A, value: b}]' | kubectl create -f - >/dev/null
ready pod one 1
kubectl expose deployment web --port=80 --target-port=http >/dev/null
kubectl create configmap map --from-literal=k=v --from-literal=more=text >/dev/null
kubectl label configmap map tier=front >/dev/null
kubectl create secret generic secret --from-literal=k=v >/dev/null

## pods
kubectl get pods
## pods wide
kubectl get pods -o wide
## pods with labels
kubectl get pods --show-labels -L app
## a pod as yaml
kubectl get pod one -o yaml
## a pod as json
kubectl get pod one -o json
## a pod of a deployment as yaml
kubectl get "$(kubectl get pods -l app=web -o name | head -1)" -o yaml
## deployment
kubectl get deployment web
## deployment wide
kubectl get deployments -o wide
## a deployment as yaml
kubectl get deployment web -o yaml
## a deployment with its managed fields
kubectl get deployment web -o yaml --show-managed-fields | grep -E 'manager|operation|fieldsType|subresource|f:replicas'
## replica sets
kubectl get rs -o wide
## a replica set as yaml
kubectl get rs -o yaml
## all
kubectl get all
## all of all kinds, wide
kubectl get all -o wide
## service
kubectl get service web -o wide
## a service as yaml
kubectl get service web -o yaml
## endpoints
kubectl get endpoints web
## endpoint slices
kubectl get endpointslices
## an endpoint slice as yaml
kubectl get endpointslices -o yaml
## configmap
kubectl get configmap map
## a configmap as yaml
kubectl get configmap map -o yaml
## all configmaps
kubectl get configmaps
## secrets
kubectl get secrets
## a secret as yaml
kubectl get secret secret -o yaml
## service accounts
kubectl get sa
## a service account as yaml
kubectl get sa default -o yaml
## namespace
kubectl get namespace get
## a namespace as yaml
kubectl get namespace get -o yaml
## node
kubectl get nodes
## short names
kubectl get po,deploy,rs,svc,cm,ep -o name
## several kinds
kubectl get service/web deployment/web configmap/map
## jsonpath
kubectl get pods -l app=web -o 'jsonpath={range .items[*]}{.status.phase} {.spec.containers[0].image}{"\n"}{end}'
## go template
kubectl get deployment web -o 'go-template={{.spec.replicas}} {{.status.readyReplicas}} {{.status.observedGeneration}} {{.metadata.generation}}{{"\n"}}'
## custom columns
kubectl get pods -o 'custom-columns=PHASE:.status.phase,QOS:.status.qosClass,NODE:.spec.nodeName,POLICY:.spec.restartPolicy,NONE:.none'
## no headers
kubectl get deployments --no-headers
## sorted
kubectl get configmaps --sort-by=.metadata.name --no-headers
## label selector
kubectl get pods -l 'app in (one,none),app!=web'
## label selector without matches
kubectl get pods -l app=nothing
## field selector
kubectl get pods --field-selector status.phase=Running,metadata.name=one
## field selector of the spec
kubectl get pods --field-selector spec.restartPolicy=Never
## unknown field selector
kubectl get pods --field-selector status.nothing=1
## unknown field selector of a configmap
kubectl get configmaps --field-selector data.k=v
## bad label selector
kubectl get pods -l 'a in'
## in chunks
kubectl get configmaps,secrets,services --chunk-size=1 -o name
## ignore not found
kubectl get pod none --ignore-not-found
## no such pod
kubectl get pod none
## one of two is not there
kubectl get pod one none
## no such kind
kubectl get nothings
## no such group
kubectl get deployments.nothing.example
## no such version
kubectl get deployments.v9.apps
## no such namespace
kubectl get pods -n nowhere
## cluster-wide kind by namespace
kubectl get namespace get -n get
## subresource status
kubectl get deployment web --subresource=status
## subresource scale
kubectl get deployment web --subresource=scale
## scale as yaml
kubectl get deployment web --subresource=scale -o yaml
## no such subresource
kubectl get configmap map --subresource=scale
## raw list
kubectl get --raw "/api/v1/namespaces/get/configmaps/map"
## raw, not there
kubectl get --raw /api/v1/namespaces/get/pods/none
## raw, no such path
kubectl get --raw /apis/nothing
## raw health
kubectl get --raw /readyz; echo; kubectl get --raw /livez; echo; kubectl get --raw /healthz
## watch
meanwhile timeout 5 kubectl get configmaps -w --output-watch-events -l tier=front
kubectl create configmap later --from-literal=a=b >/dev/null
kubectl label configmap later tier=front >/dev/null
sleep 0.2
kubectl annotate configmap later a=b >/dev/null
sleep 0.2
kubectl label configmap later tier=back --overwrite >/dev/null
kubectl delete configmap later >/dev/null
wait
## watch one
meanwhile timeout 4 kubectl get configmap map -w -o name
kubectl annotate configmap map a=b >/dev/null
wait
## watch only
meanwhile timeout 4 kubectl get configmaps --watch-only -o custom-columns=N:.metadata.name,A:.metadata.annotations.a
kubectl annotate configmap map a=c --overwrite >/dev/null
wait
