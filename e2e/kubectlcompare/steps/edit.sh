running web 1
kubectl create configmap map --from-literal=k=v >/dev/null

## a value
EDITOR='sed -i s/k:.v/k:\ other/' kubectl edit configmap map
kubectl get configmap map -o 'jsonpath={.data}'
## nothing
EDITOR=true kubectl edit configmap map
## a number
EDITOR='sed -i s/replicas:.1/replicas:\ 2/' kubectl edit deployment web
ready deployment web 2
## not there
EDITOR=true kubectl edit configmap none
## as json
EDITOR='sed -i s/other/third/' kubectl edit configmap map -o json
kubectl get configmap map -o 'jsonpath={.data}'
## status of it
EDITOR='sed -i s/third/fourth/' kubectl edit configmap map --output-patch
## patch, merge
kubectl patch configmap map --type=merge -p '{"data":{"a":"b"}}'
## patch, no change
kubectl patch configmap map --type=merge -p '{"data":{"a":"b"}}'
## patch, strategic
kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"b"}]}]}}}}'
## patch, json
kubectl patch configmap map --type=json -p '[{"op":"add","path":"/data/c","value":"d"},{"op":"test","path":"/data/c","value":"d"}]'
kubectl get configmap map -o 'jsonpath={.data}'
## patch, json that fails
kubectl patch configmap map --type=json -p '[{"op":"test","path":"/data/c","value":"x"}]'
## patch, json without its path
kubectl patch configmap map --type=json -p '[{"op":"remove","path":"/data/none"}]'
## patch, not json
kubectl patch configmap map -p 'a: [b'
## patch, wrong type
kubectl patch deployment web -p '{"spec":{"replicas":"many"}}'
## patch, unknown field
kubectl patch deployment web -p '{"spec":{"nothing":1}}'
## patch, negative
kubectl patch deployment web -p '{"spec":{"replicas":-1}}'
## patch, a name
kubectl patch configmap map -p '{"metadata":{"name":"other"}}'
## patch, uid
kubectl patch configmap map -p '{"metadata":{"uid":"1"}}'
## patch, an old version
kubectl patch configmap map -p '{"metadata":{"resourceVersion":"1"}}' | sed 's/[0-9]*//g'
## patch, not there
kubectl patch configmap none -p '{"data":{"a":"b"}}'
## patch, immutable selector
kubectl patch deployment web -p '{"spec":{"selector":{"matchLabels":{"app":"x"}}}}'
## patch, dry run
kubectl patch configmap map -p '{"data":{"z":"z"}}' --dry-run=server -o 'jsonpath={.data}'
## patch, subresource
kubectl patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'
ready deployment web 1
## replace
kubectl get configmap map -o yaml | sed 's/a: b/a: replaced/' | kubectl replace -f -
kubectl get configmap map -o 'jsonpath={.data}'
## replace, not there
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none}\n' | kubectl replace -f -
## replace, an old version
kubectl get configmap map -o yaml | sed 's/resourceVersion: .*/resourceVersion: "1"/' | kubectl replace -f -
## replace by force
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {new: one}\n' | kubectl replace --force -f -
kubectl get configmap map -o 'jsonpath={.data}'
