deployment web 1 >web.yaml

## new
kubectl apply -f web.yaml
ready deployment web 1
## unchanged
kubectl apply -f web.yaml
## changed
deployment web 2 'env: [{name: A, value: b}]' >web.yaml
kubectl apply -f web.yaml
ready deployment web 2
kubectl get deployment web -o 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].env}'
## a field taken away
deployment web 2 >web.yaml
kubectl apply -f web.yaml
kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[0].env}'
## what was applied last
kubectl apply view-last-applied deployment/web
## what was applied last, in the object
kubectl get deployment web -o 'jsonpath={.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}'
## dry run on the server
deployment web 3 >three.yaml
kubectl apply -f three.yaml --dry-run=server
kubectl apply -f three.yaml --dry-run=server -o 'jsonpath={.spec.replicas}'
## dry run on the client
kubectl apply -f three.yaml --dry-run=client
## dry run of something new
deployment other 1 | kubectl apply -f - --dry-run=server -o yaml
## several
{ printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\n'; printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n'; } >maps.yaml
kubectl apply -f maps.yaml
## onto what was created
kubectl create configmap c --from-literal=k=v >/dev/null
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: w}\n' | kubectl apply -f -
## prune by set
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p1, labels: {set: p}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: p2, labels: {set: p}}\n' | kubectl apply -f - --prune -l set=p
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p1, labels: {set: p}}\n' | kubectl apply -f - --prune -l set=p
## unknown field
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nnothing: 1\n' | kubectl apply -f -
## unknown field, not validated
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nnothing: 1\n' | kubectl apply -f - --validate=false
## unknown field, a warning
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad2}\nnothing: 1\n' | kubectl apply -f - --validate=warn
## unknown field deep inside
deployment deep 1 'imagePullPolicies: Always' | kubectl apply -f -
## a field twice
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad3}\ndata: {a: b}\ndata: {a: c}\n' | kubectl apply -f -
## wrong type
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad4}\ndata: {a: 1}\n' | kubectl apply -f -
## no such kind
printf 'apiVersion: v1\nkind: Nothing\nmetadata: {name: bad5}\n' | kubectl apply -f -
## no such version
printf 'apiVersion: apps/v7\nkind: Deployment\nmetadata: {name: bad6}\n' | kubectl apply -f -
## invalid
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: bad7}\nspec: {restartPolicy: Sometimes, containers: [{name: A_b}]}\n' | kubectl apply -f -
## selector and labels differ
deployment bad8 1 | sed 's/labels: {app: bad8}}/labels: {app: other}}/' | kubectl apply -f -
## immutable
deployment web 2 | sed 's/app: web/app: web2/' | kubectl apply -f -
## immutable in a pod
pod one | kubectl apply -f - >/dev/null
pod one 'env: [{name: A, value: b}]' | kubectl apply -f -
## other namespace
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n' | kubectl apply -f -
## no name
printf 'apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n' | kubectl apply -f -
## server side, new
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {a: one, b: two}\n' | kubectl apply --server-side -f -
kubectl get configmap s -o yaml --show-managed-fields
## server side, the same
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {a: one, b: two}\n' | kubectl apply --server-side -f -
## server side, a conflict
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {a: other}\n' | kubectl apply --server-side --field-manager=you -f -
## server side, by force
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {a: other}\n' | kubectl apply --server-side --field-manager=you --force-conflicts -f -
kubectl get configmap s -o yaml --show-managed-fields
## server side, a field less
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {}\n' | kubectl apply --server-side -f -
kubectl get configmap s -o 'jsonpath={.data}'
## server side, a deployment
deployment served 0 | kubectl apply --server-side -f -
kubectl get deployment served -o yaml --show-managed-fields | sed '/^status/,$d'
## server side, unknown field
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: t}\nnothing: 1\n' | kubectl apply --server-side -f -
## server side, from client side
kubectl apply --server-side -f maps.yaml
kubectl get configmap a -o yaml --show-managed-fields
## set last applied
kubectl apply set-last-applied -f maps.yaml --create-annotation
