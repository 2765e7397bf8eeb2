## configmap
kubectl create configmap map --from-literal=k=v
## configmap again
kubectl create configmap map --from-literal=k=v
## configmap as yaml
kubectl create configmap other --from-literal=k=v -o yaml
## configmap, dry run on the server
kubectl create configmap dry --from-literal=k=v --dry-run=server -o yaml
## configmap with a bad name
kubectl create configmap Bad_Name
## configmap with a bad key
kubectl create configmap badkey --from-literal='a b=c'
## secret
kubectl create secret generic secret --from-literal=k=v -o yaml
## tls secret without its files
kubectl create secret tls cert --cert=none --key=none
## namespace
kubectl create namespace create-more
kubectl get namespace create-more
kubectl delete namespace create-more
## namespace with a bad name
kubectl create namespace Bad
## deployment
kubectl create deployment made --image="$IMAGE" --replicas=1 --port=8080 -o yaml
ready deployment made 1
## job
kubectl create job once --image="$IMAGE" -o yaml -- /bin/true
## cronjob
kubectl create cronjob often --image="$IMAGE" --schedule='0 0 * * *' -o yaml -- /bin/true
## cronjob with a bad schedule
kubectl create cronjob bad --image="$IMAGE" --schedule='every day'
## job from a cronjob
kubectl create job now --from=cronjob/often
kubectl get job now -o yaml | sed '/^status/,$d'
## service
kubectl create service clusterip svc --tcp=80:8080 -o yaml
## node port
kubectl create service nodeport np --tcp=80:8080 --node-port=30782
## node port taken
kubectl create service nodeport np2 --tcp=80:8080 --node-port=30782
## node port out of range
kubectl create service nodeport np3 --tcp=80:8080 --node-port=80
## cluster address out of range
kubectl create service clusterip badip --clusterip=8.8.8.8 --tcp=80
## external name
kubectl create service externalname en --external-name=example.org
## load balancer
kubectl create service loadbalancer lb --tcp=18080:8080
kubectl get service lb
## ingress
kubectl create ingress front --rule='a.example.org/*=svc:80' -o yaml
## quota
kubectl create quota q --hard=configmaps=100 -o 'jsonpath={.spec}'
## token
kubectl create token default >/dev/null
## token of nobody
kubectl create token nobody
## generated name
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: gen-}\n' | kubectl create -f -
## from nowhere
kubectl create -f none.yaml
## nothing
printf '' | kubectl create -f -
## into no namespace
kubectl create configmap x -n nowhere
## a list
printf 'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l1}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l2}}\n' | kubectl create -f -
## an event
printf 'apiVersion: v1\nkind: Event\nmetadata: {name: e}\ninvolvedObject: {kind: Pod, name: p, namespace: create}\nreason: Because\n' | kubectl create -f -
## too long a name
kubectl create configmap "$(printf 'a%.0s' $(seq 260))"
## raw
kubectl create --raw /api/v1/namespaces/create/configmaps -f - <<JSON | grep -o '"name":"raw"'
{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"}}
JSON
