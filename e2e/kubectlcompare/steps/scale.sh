running web 1

## up
kubectl scale deployment web --replicas=2
ready deployment web 2
kubectl get deployment web -o 'jsonpath={.spec.replicas} {.metadata.generation}'
## by kind and name
kubectl scale deployment/web --replicas=1
## current replicas differ
kubectl scale deployment web --current-replicas=7 --replicas=2
## dry run on the server
kubectl scale deployment web --replicas=5 --dry-run=server
## dry run on the client
kubectl scale deployment web --replicas=5 --dry-run=client -o name
## negative
kubectl scale deployment web --replicas=-1
## without a number
kubectl scale deployment web
## not there
kubectl scale deployment none --replicas=1
## what has no scale
kubectl create configmap map >/dev/null
kubectl scale configmap map --replicas=1
## by selector
kubectl scale deployment -l app=web --replicas=1
## to nothing
kubectl scale deployment web --replicas=0
ready deployment web 0
kubectl get deployment web
## replica set
kubectl get rs -o name | while read -r rs; do kubectl scale "$rs" --replicas=0; done
