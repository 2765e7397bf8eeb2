# What every step can use. It runs in a directory of its own script, with a kubectl on the PATH, KUBECONFIG and IMAGE set.

# begin makes the namespace of the script the one that kubectl means.
begin() {
  kubectl delete namespace "$NAMESPACE" --ignore-not-found >/dev/null
  kubectl create namespace "$NAMESPACE" >/dev/null
  kubectl config set-context --current --namespace="$NAMESPACE" >/dev/null
  says default kubectl get serviceaccounts -o name
}

# end takes away what the script has made.
end() {
  kubectl delete all,configmaps,secrets,ingresses,persistentvolumeclaims --all --grace-period=1 --wait=false >/dev/null 2>&1
  kubectl delete namespace "$NAMESPACE" --wait=false >/dev/null 2>&1
  return 0
}

# says REGEXP COMMAND... waits until what the command prints matches, and prints nothing.
says() {
  want=$1 end=$(($(date +%s) + 30))
  shift
  while [ "$(date +%s)" -lt $end ]; do
    if "$@" 2>&1 | grep -Eq -e "$want"; then return 0; fi
    sleep 0.1
  done
  echo "in vain for '$want': $*" >&2
  "$@" >&2
  return 1
}

# ready KIND NAME N waits until all N containers of a Pod, or all N pods of a workload and no others, are ready.
ready() {
  says "^$2 +$3/$3 +(Running|$3 +$3 .*|[0-9]+[a-z0-9]*$)" kubectl get "$1" "$2"
}

# meanwhile COMMAND... lets a command listen that the next ones are told to: what is listed comes before what is watched.
meanwhile() {
  "$@" &
  sleep 1
}

# deployment NAME REPLICAS [LINE] prints a Deployment; LINE stands in its container.
deployment() {
  cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $1
  labels: {app: $1}
spec:
  replicas: $2
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: $IMAGE
        ports: [{containerPort: 8080, name: http}]
        ${3-}
YAML
}

# pod NAME [LINE] prints a Pod; LINE stands in its container.
pod() {
  cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $IMAGE
    ${2-}
YAML
}

# waiting NAME makes a Pod that no node can have: its volume claim is not there.
waiting() {
  { pod "$1" 'volumeMounts: [{name: data, mountPath: /data}]'; echo '  volumes: [{name: data, persistentVolumeClaim: {claimName: none}}]'; } | kubectl create -f - >/dev/null
  says FailedScheduling kubectl get events --field-selector "involvedObject.name=$1"
}

# running NAME REPLICAS makes a Deployment and waits for its pods.
running() {
  deployment "$1" "$2" | kubectl create -f - >/dev/null && ready deployment "$1" "$2"
}

# made KIND NAME creates what stands in KIND.yaml, and lists it.
made() {
  kubectl create -f "$1.yaml" && kubectl get "$1" "$2" && kubectl get "$1" "$2" -o wide
}

# listed PATH prints one resource a line; hashes of how a server stores objects are its own
listed() {
  kubectl get --raw "$1" | sed 's/,"storageVersionHash":"[^"]*"//g; s/},{/},\n{/g'
}
