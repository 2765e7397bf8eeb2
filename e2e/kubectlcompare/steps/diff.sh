deployment web 1 >web.yaml
kubectl apply -f web.yaml >/dev/null
ready deployment web 1

## none
kubectl diff -f web.yaml
## a number
deployment web 2 | kubectl diff -f - | sed 's/^\(diff\|---\|+++\) .*/\1/'
## a list
deployment web 1 'env: [{name: A, value: b}]' | kubectl diff -f - | sed 's/^\(diff\|---\|+++\) .*/\1/'
## something new
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: b}\n' | kubectl diff -f - | sed 's/^\(diff\|---\|+++\) .*/\1/'
## server side
deployment web 3 | kubectl diff --server-side --force-conflicts -f - | sed 's/^\(diff\|---\|+++\) .*/\1/'
## invalid
deployment web -1 | kubectl diff -f -
