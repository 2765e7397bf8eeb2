# Unusual ways of listing, over many kinds.
running web 1
kubectl label deployment web tier=front env=prod >/dev/null
kubectl create configmap a --from-literal=k=v >/dev/null
kubectl create configmap b --from-literal=k=v --from-literal=l=w >/dev/null
kubectl label configmap a tier=front >/dev/null
kubectl label configmap b tier=back env=prod >/dev/null
kubectl create secret generic s --from-literal=k=v >/dev/null
kubectl create secret generic auth --type=kubernetes.io/basic-auth --from-literal=username=u --from-literal=password=p >/dev/null
kubectl expose deployment web --port=80 --target-port=http >/dev/null
kubectl create service externalname out --external-name=example.org >/dev/null
kubectl create ingress front --class=none --rule='a.example.org/x*=web:80' --rule='/y=web:80' >/dev/null
kubectl create cronjob often --image="$IMAGE" --schedule='0 0 1 1 *' -- /bin/true >/dev/null
kubectl create pdb half --selector=app=web --min-available=50% >/dev/null
kubectl create priorityclass lists-high --value=7 >/dev/null
kubectl create role r --verb=get --resource=pods >/dev/null
kubectl create rolebinding rb --role=r --user=a >/dev/null
kubectl create serviceaccount robot >/dev/null

## several kinds
kubectl get deploy,cm,ing,secret -o wide
## several kinds, one empty
kubectl get cm,sts,secret --no-headers
## several kinds with labels
kubectl get cm,deploy --show-labels
## label columns over kinds
kubectl get cm,deploy -L tier,env
## show kind
kubectl get cm --show-kind
## show kind of nothing
kubectl get sts --show-kind
## sorted backwards by a label
kubectl get cm --sort-by='{.metadata.labels.tier}' -o name
## sorted by what few have
kubectl get secrets --sort-by=.type
## sorted by what nobody has
kubectl get cm --sort-by=.nothing
## sorted by a bad path
kubectl get cm --sort-by='{.metadata'
## sorted, several kinds
kubectl get cm,secret --sort-by=.metadata.name -o name
## set expressions
kubectl get cm -l 'tier in (front,back),env notin (test)' -o name
kubectl get cm -l '!env' -o name
kubectl get cm -l 'env' -o name
kubectl get cm -l 'tier!=front,env=prod' -o name
kubectl get cm -l 'tier gt 1'
kubectl get cm -l 'tier>1' -o name
kubectl get cm -l 'tier in ()' -o name
## a selector over kinds
kubectl get all,cm -l tier=front -o name
## field selectors of names
for k in pods deployments replicasets statefulsets daemonsets services secrets ingresses jobs cronjobs pdb roles serviceaccounts pvc hpa networkpolicies endpointslices leases limitranges quota podtemplates controllerrevisions rc endpoints; do
  echo "$k"; kubectl get $k --field-selector metadata.name=none -o name
  kubectl get $k --field-selector metadata.namespace=none -o name
done
## field selectors of cluster kinds
for k in namespaces nodes persistentvolumes storageclasses ingressclasses clusterroles clusterrolebindings priorityclasses runtimeclasses; do
  echo "$k"; kubectl get $k --field-selector metadata.name=none -o name
done
## field selectors of kinds
kubectl get pods --field-selector spec.nodeName=none -o name
kubectl get pods --field-selector spec.hostNetwork=true -o name
kubectl get pods --field-selector spec.schedulerName=default-scheduler --no-headers -o custom-columns=P:.status.phase
kubectl get pods --field-selector spec.serviceAccountName=robot -o name
kubectl get pods --field-selector status.podIP=1.2.3.4 -o name
kubectl get pods --field-selector status.nominatedNodeName=x -o name
kubectl get secrets --field-selector type=kubernetes.io/basic-auth -o name
kubectl get jobs --field-selector status.successful=1 -o name
kubectl get rs --field-selector status.replicas=1 --no-headers -o custom-columns=N:.status.replicas
kubectl get rc --field-selector status.replicas=1 -o name
kubectl get services --field-selector spec.type=ExternalName -o name
kubectl get services --field-selector spec.clusterIP=None -o name
kubectl get namespaces --field-selector status.phase=Active -o name | grep lists
kubectl get nodes --field-selector spec.unschedulable=false -o name | wc -l
kubectl get events --field-selector reason=none,type=Warning,source=x,involvedObject.uid=1,involvedObject.apiVersion=v1,involvedObject.fieldPath=x,involvedObject.resourceVersion=1,reportingComponent=x,involvedObject.namespace=y,involvedObject.name=z
## field selectors that are not there
kubectl get deployments --field-selector spec.replicas=1
kubectl get pods --field-selector 'spec.containers=1'
kubectl get pods --field-selector 'status.phase'
kubectl get pods --field-selector 'status.phase==Running,metadata.name!=x' --no-headers -o custom-columns=P:.status.phase
kubectl get pods --field-selector 'metadata.name in (a)'
kubectl get services --field-selector spec.externalName=x
kubectl get nodes --field-selector status.phase=x
## wide over all namespaces
kubectl get cm -A --field-selector metadata.namespace=lists -o wide | grep -v kube-root
## all namespaces, several kinds
kubectl get deploy,ing -A --field-selector metadata.namespace=lists
## in chunks
kubectl get cm,secrets,sa --chunk-size=1 --no-headers
## raw in chunks
kubectl get --raw '/api/v1/namespaces/lists/secrets?limit=1' | grep -o '"remainingItemCount":[0-9]*'
kubectl get --raw '/api/v1/namespaces/lists/secrets?limit=1&labelSelector=x' | grep -c continue
kubectl get --raw '/api/v1/namespaces/lists/secrets?limit=x'
kubectl get --raw '/api/v1/namespaces/lists/secrets?continue=rubbish'
kubectl get --raw '/api/v1/namespaces/lists/secrets?resourceVersion=x'
kubectl get --raw '/api/v1/namespaces/lists/secrets?resourceVersionMatch=Exact'
kubectl get --raw '/api/v1/namespaces/lists/secrets?resourceVersionMatch=Other&resourceVersion=1'
kubectl get --raw '/api/v1/namespaces/lists/secrets?labelSelector=a+in'
kubectl get --raw '/api/v1/namespaces/lists/secrets?fieldSelector=a'
kubectl get --raw '/api/v1/namespaces/lists/secrets?watch=1&timeoutSeconds=x'
kubectl get --raw '/api/v1/namespaces/lists/secrets?sendInitialEvents=true'
kubectl get --raw '/api/v1/namespaces/lists/secrets?watch=1&sendInitialEvents=true'
kubectl get --raw '/api/v1/namespaces/lists/secrets?watch=1&limit=1&timeoutSeconds=1' | wc -l
## raw watch with initial events
kubectl get --raw '/api/v1/namespaces/lists/secrets?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1' | grep -o '^{"type":"[A-Z]*"\|initial-events-end":"true"'
## custom columns over kinds
kubectl get cm,secret,deploy -o custom-columns='KIND:.kind,NAME:.metadata.name,API:.apiVersion,X:.data.k'
## custom columns with a filter
kubectl get pods -o custom-columns='I:.spec.containers[*].image,P:.spec.containers[?(@.name=="main")].ports[0].containerPort'
## custom columns of a file
printf 'NAME KEYS\n.metadata.name .data\n' >columns
kubectl get cm a -o custom-columns-file=columns
## custom columns without a name
kubectl get cm a -o custom-columns=NAME
## json path of a file
printf '{range .items[*]}{.kind}{" "}{.metadata.name}{"\\n"}{end}' >path
kubectl get cm a b -o jsonpath-file=path
## json path as json
kubectl get cm a b -o jsonpath-as-json='{.items[*].data}'
## a bad json path
kubectl get cm a -o 'jsonpath={.a[}'
## template of a list
kubectl get cm,deploy -l tier=front -o go-template='{{range .items}}{{.kind}}/{{.metadata.name}} {{end}}{{"\n"}}'
## template with what is missing
kubectl get cm a -o go-template='{{.nothing.at.all}}' --allow-missing-template-keys=false 2>&1 | grep -E '^error|template was'
## bad output
kubectl get cm a -o nothing
## kyaml
kubectl get cm a -o kyaml
## a file
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n' >both.yaml
kubectl get -f both.yaml
kubectl get -f both.yaml -o name
## a list as json
kubectl get cm a b -o json | grep -E '^    "|resourceVersion": ""'
## a list of nothing as yaml
kubectl get sts -o yaml
## two, one of them not there
kubectl get cm/a secret/none -o name
## kind and name mixed
kubectl get cm/a secret
## by its full name
kubectl get deployments.v1.apps/web -o name
kubectl get deploy.apps web -o name
kubectl get deployments.apps/web configmaps/a -o name
kubectl get Deployment/web -o name
kubectl get DEPLOY -o name
## service, external name
kubectl get svc out -o wide
## ingress with two rules
kubectl get ing front; kubectl describe ing front | sed '/^Events/,$d'
## cron job wide
kubectl get cj -o wide
## priority class
kubectl get pc lists-high -o wide
## secret types
kubectl get secret auth
## roles wide
kubectl get role,rolebinding -o wide
## watch of two kinds
kubectl get cm,secret -w
## watch by name, until it is deleted
meanwhile timeout 5 kubectl get cm later -w --ignore-not-found --output-watch-events
kubectl create cm later >/dev/null
sleep 0.3
kubectl delete cm later >/dev/null
wait
## watch with columns
meanwhile timeout 4 kubectl get cm -w -o wide -l tier=back --show-labels
kubectl label cm b x=y >/dev/null
wait
## watch by path
meanwhile timeout 4 kubectl get cm b --watch-only --output-watch-events -o 'jsonpath={.type} {.object.metadata.labels}{"\n"}'
kubectl label cm b x- >/dev/null
wait
## watch of a deployment that is scaled
meanwhile sh -c 'timeout 6 kubectl get deploy web -w -o "jsonpath={.spec.replicas}{\"\\n\"}" | uniq'
kubectl scale deploy web --replicas=0 >/dev/null
wait
## watch by field
meanwhile timeout 4 kubectl get secrets -w --field-selector type=kubernetes.io/basic-auth --output-watch-events --no-headers
kubectl create secret generic auth2 --type=kubernetes.io/basic-auth --from-literal=username=u --from-literal=password=p >/dev/null
kubectl create secret generic opaque2 >/dev/null
sleep 0.2
kubectl delete secret auth2 opaque2 >/dev/null
wait
## ends
kubectl delete priorityclass lists-high
