package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Manifest is the demo's file.
const Manifest = `# berth's demo: three replicas of a small web page. Change something and save.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: ` + ImageName + `
        env:
        - {name: MESSAGE, value: "Hello from berth"}
        ports:
        - containerPort: 8080
        resources:
          limits: {memory: 64Mi}
`

// Write puts the manifest into dir unless there is one already, and returns its path.
func Write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manifests are no secret
		return "", fmt.Errorf("cannot make the demo's directory: %w", err)
	}
	path := filepath.Join(dir, "web.yaml")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // manifests are no secret
	if errors.Is(err, fs.ErrExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot write the demo's manifest: %w", err)
	}
	if _, err := file.WriteString(Manifest); err != nil {
		file.Close()
		return "", fmt.Errorf("cannot write the demo's manifest: %w", err)
	}
	return path, file.Close()
}

// Hints are the lines that say what to try. prefix is how berth is called: the binary with the demo's flags.
func Hints(manifest, prefix string) string {
	return fmt.Sprintf(`Three replicas of a small web page come up below. Things to try, in another terminal:

  see them         %[2]s status
  open a page      curl http://ADDRESS:8080      (the address of a pod, from the table)
  scale            sed -i 's/replicas: 3/replicas: 5/' %[1]s
  new version      sed -i 's/Hello from berth/Hello again/' %[1]s     (a rolling update)
  kill a process   kill -9 PID                   (the PID column; it comes back)
  break the YAML   sed -i 's/replicas:/replicsa:/' %[1]s     (nothing stops; the table says which line)
  read logs        %[2]s logs -f POD
  look inside      %[2]s exec POD -- /berth --version
  take it down     %[2]s down

Ctrl-C ends berth, not the pods.
`, manifest, prefix)
}
