kubectl create configmap map --from-literal=k=v >/dev/null
kubectl create configmap more >/dev/null

## label
kubectl label configmap map a=b
kubectl get configmap map --show-labels
## label again
kubectl label configmap map a=b
## label changed
kubectl label configmap map a=c
## label overwritten
kubectl label configmap map a=c --overwrite
## label taken away
kubectl label configmap map a-
## label taken away again
kubectl label configmap map a-
## bad label
kubectl label configmap map 'a=b c'
## bad key
kubectl label configmap map '-a=b'
## several
kubectl label configmaps map more set=one
## list
kubectl label configmap map --list
## not there
kubectl label configmap none a=b
## by selector
kubectl label configmaps -l set=one x=y
## annotate
kubectl annotate configmap map note='some words'
kubectl get configmap map -o 'jsonpath={.metadata.annotations}'
## annotate again
kubectl annotate configmap map note=other
## annotate overwritten
kubectl annotate configmap map note=other --overwrite
## annotation taken away
kubectl annotate configmap map note-
## bad annotation
kubectl annotate configmap map 'no te=x'
## old version
kubectl annotate configmap map v=1 --resource-version=1
## label of a namespace
kubectl label namespace label team=a
kubectl get namespace label -o 'jsonpath={.metadata.labels}'
