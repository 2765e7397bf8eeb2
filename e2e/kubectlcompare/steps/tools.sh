# What is used now and then: verbs that other steps leave out.
running web 2
kubectl create cm a --from-literal=k=v >/dev/null
kubectl create cm b --from-literal=k=v >/dev/null

## autoscale
kubectl autoscale deployment web --min=2 --max=4 --cpu=50% --dry-run=server -o yaml | grep -v lastTransition
## autoscale of nothing
kubectl autoscale deployment none --max=3
## autoscale, bad
kubectl autoscale deployment web --min=5 --max=3
## autoscale without a most
kubectl autoscale deployment web
## label all
kubectl label cm --all x=y --overwrite | grep -v kube-root
kubectl label cm --all x- | grep -v kube-root
## label, two ways
kubectl label cm a x=y x-
## label by field
kubectl label cm --field-selector metadata.name=a f=g
## label dry
kubectl label cm a d=e --dry-run=server -o 'jsonpath={.metadata.labels}'
## label local
kubectl create cm z --dry-run=client -o yaml | kubectl label -f - --local q=r -o yaml
## annotate all
kubectl annotate cm a b note=x
kubectl annotate cm a --list
## patch the status of a deployment
kubectl patch deploy web --subresource=status --type=merge -p '{"status":{"observedGeneration":1}}' 
## patch scale
kubectl patch deploy web --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'
kubectl patch deploy web --subresource=scale --type=json -p '[{"op":"replace","path":"/spec/replicas","value":2}]' -o 'jsonpath={.spec.replicas}'
kubectl get deploy web --subresource=scale -o 'jsonpath={.spec.replicas} {.kind}'
kubectl patch cm a --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'
kubectl patch deploy web --subresource=nothing -p '{}'
ready deployment web 2
## patch of a file
printf 'data: {patched: "yes"}\n' >patch.yaml
kubectl patch cm a --patch-file patch.yaml
kubectl patch cm a --type=merge --patch-file patch.yaml -o 'jsonpath={.data}'
## patch, empty
kubectl patch cm a -p '{}'
kubectl patch cm a -p ''
kubectl patch cm a --type=json -p '[]'
kubectl patch cm a --type=json -p '[{"op":"nothing","path":"/data/a"}]'
kubectl patch cm a --type=json -p '[{"op":"add","path":"/metadata/labels/a~1b","value":"c"},{"op":"move","from":"/data/k","path":"/data/moved"},{"op":"copy","from":"/data/moved","path":"/data/again"}]' -o 'jsonpath={.data} {.metadata.labels}'
## patch, merge of a list
kubectl patch deploy web --type=merge -p '{"spec":{"template":{"spec":{"containers":[]}}}}'
kubectl patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"main","$patch":"delete"}]}}}}'
kubectl patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"'"$IMAGE"'"}],"$setElementOrder/containers":[{"name":"side"},{"name":"main"}]}}}}' --dry-run=server -o 'jsonpath={.spec.template.spec.containers[*].name}'
kubectl patch deploy web -p '{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}' --dry-run=server -o 'jsonpath={.spec.strategy}'
## strategy changed badly
kubectl patch deploy web --type=merge -p '{"spec":{"strategy":{"type":"Recreate"}}}'
## replace with force of a file
kubectl get cm b -o yaml >b.yaml
kubectl replace --force -f b.yaml
kubectl get cm b -o 'jsonpath={.data}'
## replace without a name
printf 'apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n' | kubectl replace -f -
## replace in another namespace
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: other}\n' | kubectl replace -f - -n tools
## kustomize
mkdir -p kust/over
cat >kust/kustomization.yaml <<YAML
namePrefix: k-
labels: [{pairs: {team: blue}, includeSelectors: true}]
configMapGenerator: [{name: settings, literals: [a=b]}]
secretGenerator: [{name: hidden, literals: [a=b], options: {disableNameSuffixHash: true}}]
resources: [d.yaml]
images: [{name: nothing, newName: $(echo "$IMAGE" | cut -d: -f1)}]
replicas: [{name: kd, count: 1}]
YAML
deployment kd 3 'envFrom: [{configMapRef: {name: settings}}]' >kust/d.yaml
printf 'resources: [..]\nnameSuffix: -over\n' >kust/over/kustomization.yaml
kubectl apply -k kust
kubectl diff -k kust
kubectl get deploy k-kd -o 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].envFrom}'
sed -i 's/a=b/a=c/' kust/kustomization.yaml
kubectl diff -k kust | grep -E '^[-+] ' | grep -v -E 'uid|creation|generation'
kubectl apply -k kust
kubectl get -k kust -o name
kubectl get -k kust/over
kubectl delete -k kust
kubectl kustomize kust/over | grep name:
## prune with an allow list
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: q1, labels: {set: q}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: q2, labels: {set: q}}\n' | kubectl apply -f - -l set=q
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: q3, labels: {set: q}}\n' | kubectl apply -f - --prune -l set=q --prune-allowlist=core/v1/ConfigMap
kubectl get cm,secret -l set=q -o name
## prune dry
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: q4, labels: {set: q}}\n' | kubectl apply -f - --prune -l set=q --dry-run=server
## prune by an apply set
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: as1}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: as2}\n' | KUBECTL_APPLYSET=true kubectl apply -f - --prune --applyset=secret/set -n tools
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: as1}\n' | KUBECTL_APPLYSET=true kubectl apply -f - --prune --applyset=secret/set -n tools
kubectl get secret set -o 'jsonpath={.metadata.labels} {.metadata.annotations}'
## apply with wait
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w}\n' | kubectl apply -f - --wait --timeout=5s -o yaml
## apply of a directory
mkdir -p dir/sub
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dir1}\n' >dir/a.yaml
printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"dir2"}}' >dir/sub/b.json
kubectl apply -f dir; kubectl apply -R -f dir
kubectl delete -R -f dir
## apply of generated names
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: g-}\n' | kubectl apply -f -
## apply, edit last applied
EDITOR='sed -i s/nothing/else/' kubectl apply edit-last-applied cm/w
## server side apply of many
{ deployment ssa 0; echo ---; printf 'apiVersion: v1\nkind: Service\nmetadata: {name: ssa}\nspec: {selector: {app: ssa}, ports: [{port: 80}]}\n'; } >ssa.yaml
kubectl apply --server-side -f ssa.yaml
kubectl scale deploy ssa --replicas=0 
kubectl set image deploy/ssa main=example.org/other:1
kubectl apply --server-side -f ssa.yaml
kubectl apply --server-side -f ssa.yaml --force-conflicts
kubectl apply --server-side -f ssa.yaml --dry-run=server
kubectl diff --server-side -f ssa.yaml
kubectl apply -f ssa.yaml
## delete by field
kubectl delete cm --field-selector metadata.name=a
## delete with a bad cascade
kubectl delete cm b --cascade=perhaps
## delete, several kinds
kubectl create secret generic b >/dev/null
kubectl delete cm,secret b
kubectl delete cm/none secret/none
## delete, raw
kubectl create cm raw >/dev/null
kubectl delete --raw /api/v1/namespaces/tools/configmaps/raw | grep -o '"status":"[A-Za-z]*"\|"kind":"[a-z]*"'
## delete, waiting in vain
kubectl delete pod none --wait --timeout=1s
## delete all with a selector
kubectl delete cm --all -l x=y
## delete a collection
kubectl delete --raw '/api/v1/namespaces/tools/configmaps?labelSelector=none%3Dx'
## wait, no condition
kubectl wait deploy/web
kubectl wait deploy/web --for=nothing
kubectl wait --for=condition=Available=False deploy/web --timeout=1s
kubectl wait --for=condition=Available deploy -l app=web --timeout=5s
kubectl wait --for=jsonpath='{.spec.replicas}'=7 deploy/web --timeout=1s
kubectl wait --for=jsonpath='{.spec.nothing}' deploy/web --timeout=1s
kubectl wait --for=delete deploy/none --timeout=1s
kubectl wait --for=delete cm -l none=x --timeout=1s
kubectl wait --for=create cm/none --timeout=1s
kubectl wait --for=condition=Complete job --all --timeout=1s
kubectl wait --for=condition=Ready node --all --timeout=5s
## rollout status in vain
kubectl patch deploy web -p '{"spec":{"progressDeadlineSeconds":600,"template":{"spec":{"containers":[{"name":"main","readinessProbe":{"exec":{"command":["false"]}},"image":"example.org/nothing:1"}]}}}}' 
kubectl rollout status deploy/none
kubectl rollout status deploy/web --revision=9
kubectl rollout undo deploy/web
ready deployment web 2
## rollout by selector
kubectl rollout restart deploy -l app=web
kubectl rollout history deploy -l app=web
kubectl rollout pause deploy -l app=none
## rollout of two
kubectl rollout history deploy/web deploy/ssa
## rollout history of a daemon set not there
kubectl rollout history ds/none
kubectl rollout undo sts/none
kubectl rollout restart job/none
## set env from a config map
kubectl create cm from --from-literal=A=1 --from-literal=B_C=2 >/dev/null
kubectl set env deploy/ssa --from=configmap/from --prefix=X_
kubectl set env deploy/ssa --list --resolve
kubectl set env deploy/ssa X_A-
kubectl get deploy ssa -o 'jsonpath={.spec.template.spec.containers[0].env}'
## set env of all
kubectl set env deploy --all Q=r
kubectl set env deploy -l app=none Q=r
kubectl set env deploy/ssa 'bad name=x'
## set resources of a container
kubectl set resources deploy ssa -c main --limits=cpu=100m,memory=32Mi
kubectl set resources deploy ssa -c none --limits=cpu=100m
kubectl set resources deploy ssa --limits=cpu=x
kubectl set resources deploy ssa --limits=cpu=0,memory=0
kubectl get deploy ssa -o 'jsonpath={.spec.template.spec.containers[0].resources}'
## set selector
kubectl set selector svc ssa app=other
kubectl set selector svc none app=other
kubectl set selector deploy ssa app=other
## set service account
kubectl create sa robot >/dev/null
kubectl set sa deploy/ssa robot
kubectl get deploy ssa -o 'jsonpath={.spec.template.spec.serviceAccountName} {.spec.template.spec.serviceAccount}'
## set subject
kubectl set subject rolebinding none --user=x
## set image of all
kubectl set image deploy,rs --all '*=x:1' --dry-run=client
kubectl set image pod/none main=x
kubectl set image deploy/ssa main=
## create what is left
kubectl create role r --verb=get,list,nothing --resource=pods,deployments.apps,nothings
kubectl create role r --verb=get --resource=pods/log --resource-name=x -o yaml
kubectl create clusterrole tools-c --verb=get --non-resource-url=/logs/* -o yaml
kubectl delete clusterrole tools-c
kubectl create clusterrole tools-a --aggregation-rule=rbac.example.com/x=true
kubectl delete clusterrole tools-a
kubectl create pdb p --selector=a=b --max-unavailable=1 -o yaml | sed '/^status/,$d'
kubectl create pdb p2 --selector=a=b
kubectl create quota q2 --hard=pods=x
kubectl create quota q3 --hard=pods=5 --scopes=BestEffort -o 'jsonpath={.spec}'
kubectl delete quota q3
kubectl create priorityclass tools-p --value=5 --global-default=false --preemption-policy=Never -o yaml
kubectl delete priorityclass tools-p
kubectl create ingress i --rule=foo.com/bar=svc:80,tls=sec --annotation=a=b --default-backend=d:http -o yaml
kubectl create ingress bad --rule=x
kubectl create service clusterip h --clusterip=None -o 'jsonpath={.spec}'
kubectl create service clusterip bad --tcp=0
kubectl create service nodeport bad
kubectl create deployment d --image="$IMAGE" --image=x:1 -o 'jsonpath={.spec.template.spec.containers[*].name}'
kubectl create deployment d2 --image="$IMAGE" --image=x:1 -- sleep 1
kubectl create job j --image="$IMAGE" --from=cronjob/x
kubectl create job j --from=cronjob/none
kubectl create job j --from=deploy/web
kubectl create cronjob c --image="$IMAGE" --schedule='*/1 * * * *' --restart=Always
kubectl create secret generic bad --from-literal=x
kubectl create secret generic t --type=kubernetes.io/tls --from-literal=a=b
kubectl create secret generic t --type=kubernetes.io/basic-auth
kubectl create cm f --from-file=b.yaml --from-file=key=patch.yaml -o 'jsonpath={.data.key}'
kubectl create cm e --from-env-file=none
printf 'A=1\n# c\nB=two words\n' >env; kubectl create cm e --from-env-file=env -o 'jsonpath={.data}'
kubectl create cm h --from-literal=a=b --append-hash -o name
kubectl create ns tools --dry-run=server
kubectl create sa default
## run with odd flags
kubectl run r1 --image="$IMAGE" --restart=Never --overrides='{"spec":{"terminationGracePeriodSeconds":1}}' --dry-run=server -o 'jsonpath={.spec.restartPolicy} {.spec.terminationGracePeriodSeconds}'
kubectl run r2 --image="$IMAGE" --restart=Sometimes
kubectl run r3 --image="$IMAGE" --annotations=a=b --command -- /bin/true x
kubectl get pod r3 -o 'jsonpath={.spec.containers[0].command} {.metadata.annotations.a}'
kubectl delete pod r3 --now
## expose with odd flags
kubectl expose deploy web --name=e1 --port=80 --target-port=http --type=NodePort --session-affinity=ClientIP -o 'jsonpath={.spec.sessionAffinityConfig} {.spec.type}'
kubectl expose svc e1 --name=e2 --port=81 --protocol=UDP -o 'jsonpath={.spec.ports[0].protocol}'
kubectl expose deploy web --name=e3 --port=80 --external-ip=bad
kubectl expose deploy web --name=e4 --port=80 --cluster-ip=bad
kubectl expose deploy web --name=e5 --port=99999
kubectl expose rs "$(kubectl get rs -o 'jsonpath={.items[0].metadata.name}')" --name=e6 --port=80 -o name
## taint
kubectl taint node none a=b:NoSchedule
## cordon what is not there
kubectl cordon none
kubectl uncordon none
kubectl drain none
## certificate
kubectl certificate approve none
kubectl get csr
## custom resources
kubectl get crd
printf 'apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: t}\n' | kubectl apply -f -
kubectl get things
kubectl explain things
kubectl describe things
## explain with odd flags
kubectl explain cm --recursive
kubectl explain pvc.spec --recursive | sed -n '1,60p' | grep -v -E '^ {4,}'
kubectl explain deploy.spec.strategy.rollingUpdate.nothing
kubectl explain deploy --api-version=apps/v1 | head -3
kubectl explain deploy --api-version=apps/v9
kubectl explain hpa --api-version=autoscaling/v2 | head -3
kubectl explain ev | head -3
kubectl explain pods/log
## api resources
kubectl api-resources --namespaced=true --sort-by=kind --no-headers -o name | grep -E '^(pods|services|deployments)'
kubectl api-resources --sort-by=nothing
kubectl api-resources --api-group=nothing
kubectl api-resources --verbs=deletecollection --api-group=batch -o name
kubectl api-resources --api-group=apps -o json | grep -c '"kind"'
## auth
kubectl auth can-i '*' '*'
kubectl auth can-i get deployments.apps/scale
kubectl auth can-i delete pod/x -n none
kubectl auth can-i get nothing.example.org
kubectl auth can-i list pods --as=someone
kubectl auth can-i list pods -q; echo $?
kubectl auth reconcile -f - 2>/dev/null <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: recon, namespace: tools}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
YAML
## config
kubectl config view --minify | grep -E 'namespace|name:' | sed 's/: .*cluster.*//' | sort | uniq -c | wc -l
kubectl config get-contexts --no-headers | wc -l
## options that are everybody's
kubectl get cm none --request-timeout=5s
kubectl get cm none --request-timeout=x
kubectl get cm none --context=none
kubectl get cm none --as=me --as-group=us
kubectl get cm none -v=0 --warnings-as-errors
kubectl get cm none --server=https://127.0.0.1:1
## events
kubectl events --for pod/none
kubectl events --for nothing
kubectl events -A --types=Nothing
kubectl events --for deploy/web -o name | head -1
kubectl get ev --sort-by=.lastTimestamp --field-selector type=Nothing
## convert and other plugins
kubectl plugin list
kubectl nothing
## debug
kubectl debug node/none --image="$IMAGE"
kubectl debug pod/none --copy-to=x
kubectl debug deploy/web
kubectl debug pod/none --image="$IMAGE" --profile=nothing
## logs
kubectl logs -l app=none --all-containers --prefix
kubectl logs
kubectl logs deploy/none --all-pods
kubectl logs pod/none -f --since=5
kubectl logs svc/none
kubectl logs job/none
## exec
kubectl exec deploy/none -- true
kubectl exec svc/none -- true
kubectl exec cm/from -- true
kubectl exec deploy/ssa -- true --pod-running-timeout=1s
kubectl exec -it
kubectl attach deploy/none
## port-forward
kubectl port-forward deploy/none 18082:80
kubectl port-forward svc/web 18082:80
kubectl port-forward cm/from 18082:80
kubectl port-forward svc/e6 18082:nothing
