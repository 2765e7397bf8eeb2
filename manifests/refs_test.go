package manifests

import (
	"strings"
	"testing"
)

// A volume of the template that a claim template takes the place of names nothing that must exist; the others do.
func TestClaimTemplatesTakeThePlaceOfVolumes(t *testing.T) {
	const set = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  selector: {matchLabels: {app: db}}
  serviceName: db
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: main, image: x}]
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - {name: other, persistentVolumeClaim: {claimName: other}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
`
	var named []string
	for _, f := range Check([]Decoded{Decode("db.yaml", []byte(set))}) {
		if strings.Contains(f.Text, "is not in these files") {
			named = append(named, f.Field)
		}
	}
	if len(named) != 1 || named[0] != "spec.template.spec.volumes[1].persistentVolumeClaim.claimName" {
		t.Errorf("missing are %q", named)
	}
}
