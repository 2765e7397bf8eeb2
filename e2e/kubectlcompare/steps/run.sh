## pod
kubectl run one --image="$IMAGE" --port=8080 --env=A=b --labels=tier=x
ready pod one 1
kubectl get pod one -o 'jsonpath={.spec.containers} {.metadata.labels}' | sed 's/{"mountPath.*serviceaccount","name":"[^"]*","readOnly":true}/TOKEN/'
## again
kubectl run one --image="$IMAGE"
## dry run
kubectl run two --image="$IMAGE" --dry-run=client -o yaml
## dry run on the server
kubectl run two --image="$IMAGE" --dry-run=server -o yaml
## without an image
kubectl run three
## bad image
kubectl run four --image='Bad Image'
## bad name
kubectl run Bad_Name --image="$IMAGE"
## exposed
kubectl run five --image="$IMAGE" --port=8080 --expose
## expose
kubectl expose pod one --name=svc --port=80 --target-port=8080
kubectl get service svc -o yaml
## expose again
kubectl expose pod one --name=svc --port=80
## expose what is not there
kubectl expose pod none --port=80
## expose without a port
running web 1
kubectl expose deployment web
kubectl get service web -o 'jsonpath={.spec.ports}'
## expose what cannot be
kubectl create configmap map >/dev/null
kubectl expose configmap map --port=80
