running web 1

## image
kubectl set image deployment/web main="$IMAGE" --dry-run=server
kubectl set image deployment/web main=example.org/none:2
kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[0].image}'
## image of a container that is not there
kubectl set image deployment/web other=example.org/none:2
## image back
kubectl set image deployment/web "*=$IMAGE"
## env
kubectl set env deployment/web A=b C-
kubectl set env deployment/web --list
## env of what is not there
kubectl set env deployment/none A=b
## resources
kubectl set resources deployment/web --limits=memory=64Mi --requests=cpu=10m
kubectl get deployment web -o 'jsonpath={.spec.template.spec.containers[0].resources}'
## resources that contradict
kubectl set resources deployment/web --limits=cpu=1m --requests=cpu=10m
## service account
kubectl set serviceaccount deployment web default
## selector
kubectl create service clusterip svc --tcp=80 >/dev/null
kubectl set selector service svc app=web
kubectl get service svc -o 'jsonpath={.spec.selector}'
## subject
kubectl create role r --verb=get --resource=pods >/dev/null
kubectl create rolebinding rb --role=r --user=a >/dev/null
kubectl set subject rolebinding rb --user=b
kubectl get rolebinding rb -o 'jsonpath={.subjects[*].name}'
