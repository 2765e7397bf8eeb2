package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// postgresConfig is what the database needs beside its workload.
const postgresConfig = `apiVersion: v1
kind: Secret
metadata: {name: postgres}
type: Opaque
stringData: {username: shop, password: "sesam öffne dich"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: postgres}
data:
  postgresql.conf: |
    listen_addresses = '*'
    max_connections = 20
    shared_buffers = 16MB
    dynamic_shared_memory_type = posix
  schema.sql: |
    CREATE TABLE orders (id serial PRIMARY KEY, what text NOT NULL);
`

// postgresSet is one postgres with a claim, as its users write it.
const postgresSet = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: postgres}
spec:
  serviceName: postgres
  replicas: 1
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999, runAsNonRoot: true}
      containers:
        - name: postgres
          image: IMAGE
          args: [-c, config_file=/etc/postgresql/postgresql.conf]
          ports: [{name: postgres, containerPort: 5432}]
          env:
            - {name: POSTGRES_DB, value: shop}
            - {name: POSTGRES_USER, valueFrom: {secretKeyRef: {name: postgres, key: username}}}
            - {name: POSTGRES_PASSWORD, valueFrom: {secretKeyRef: {name: postgres, key: password}}}
            - {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
            - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
          readinessProbe:
            exec: {command: [pg_isready, -h, 127.0.0.1, -U, shop, -d, shop]}
            periodSeconds: 1
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {memory: 256Mi}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts:
            - {name: data, mountPath: /var/lib/postgresql/data}
            - {name: config, mountPath: /etc/postgresql}
            - {name: schema, mountPath: /docker-entrypoint-initdb.d}
            - {name: shm, mountPath: /dev/shm}
      volumes:
        - name: config
          configMap: {name: postgres, items: [{key: postgresql.conf, path: postgresql.conf}]}
        - name: schema
          configMap: {name: postgres, items: [{key: schema.sql, path: schema.sql}]}
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: 32Mi}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

// sql runs statements in the database over its socket, and gives what they print.
func sql(b *harness.Berth, text string) string {
	b.Helper()
	return b.Must("exec", "postgres-0", "--", "psql", "-U", "shop", "-d", "shop", "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", text)
}

// Postgres, initialised once from a Secret and a ConfigMap, keeps every committed row whatever ends it: kill -9 of the server, of berth, its file
// deleted, down, a power cut. Over the network it wants the password of the Secret.
func TestPostgres(t *testing.T) {
	if os.Getenv("BERTH_E2E_ISOLATE") == "0" {
		t.Skip("the boot id of this machine cannot be changed without a mount namespace of the test's own")
	}
	b := harness.New(t)
	b.Load(images.Postgres)
	set := strings.Replace(postgresSet, "IMAGE", images.Ref(images.Postgres), 1)
	b.Write("config.yaml", postgresConfig)
	b.Write("postgres.yaml", set)
	up := b.Up()
	pod := b.UntilReady("postgres-", 1)[0]

	rows := 0
	// survived wants all rows of before in the same cluster, then has a thousand more committed.
	system := sql(b, "SELECT system_identifier FROM pg_control_system()")
	survived := func(what string) {
		t.Helper()
		pod = b.UntilReady("postgres-", 1)[0]
		if got, want := sql(b, "SELECT count(*), count(DISTINCT id) FROM orders"), fmt.Sprintf("%d|%d\n", rows, rows); got != want {
			t.Fatalf("after %s there are %q rows, want %q", what, got, want)
		}
		if now := sql(b, "SELECT system_identifier FROM pg_control_system()"); now != system {
			t.Fatalf("after %s it is another cluster", what)
		}
		sql(b, fmt.Sprintf("INSERT INTO orders (what) SELECT '%s ' || n FROM generate_series(1, 1000) n", what))
		rows += 1000
	}
	survived("initialisation")
	postgresWantsPassword(t, b)
	if shm := b.Must("exec", "postgres-0", "--", "stat", "-f", "-c", "%T %b %s", "/dev/shm"); shm != "tmpfs 8192 4096\n" {
		t.Errorf("/dev/shm is %q", shm)
	}

	restarted := pod
	if err := syscall.Kill(pod.Container("postgres").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.UntilPod("postgres-", "to be restarted", func(p harness.Pod) error {
		if p.Container("postgres").Restarts != 1 || !p.Ready {
			return fmt.Errorf("%+v", p.Containers)
		}
		return nil
	})
	survived("kill -9 of postgres")
	if pod.UID != restarted.UID {
		t.Error("the pod did not stay the same")
	}

	pid := pod.Container("postgres").PID
	up.Kill()
	if !harness.Running(pid) {
		t.Error("postgres ended with berth")
	}
	b.Up()
	survived("kill -9 of berth")
	if now := pod.Container("postgres").PID; now != pid {
		t.Errorf("postgres is process %d, was %d", now, pid)
	}

	b.Delete("postgres.yaml")
	b.UntilReady("postgres-", 0)
	b.Write("postgres.yaml", set)
	survived("its file was deleted and written again")

	b.Must("down")
	up = b.Up()
	survived("down and up")

	up.Kill()
	powerOff(t, b)
	undo := newBootID(t)
	defer undo()
	b.Up()
	survived("a power cut")
	postgresWantsPassword(t, b)
	if what := sql(b, "SELECT count(DISTINCT regexp_replace(what, ' [0-9]*$', '')) FROM orders"); what != "6\n" {
		t.Errorf("rows of %q occasions, want 6", what)
	}
	b.Must("down", "--volumes")
}

// postgresWantsPassword connects over the pod's address with no password, with a wrong one and with that of the Secret.
func postgresWantsPassword(t *testing.T, b *harness.Berth) {
	t.Helper()
	for _, c := range []struct{ password, out, err string }{
		{"", "", "no password supplied"},
		{"PGPASSWORD=wrong ", "", "password authentication failed"},
		{`PGPASSWORD="$POSTGRES_PASSWORD" `, "shop\n", ""},
	} {
		r := b.CLI("exec", "postgres-0", "--", "sh", "-c", c.password+`psql -w -h "$POD_IP" -U shop -d shop -qtAXc 'SELECT current_user'`)
		if r.Stdout != c.out || !strings.Contains(r.Stderr, c.err) || (r.Code == 0) != (c.err == "") {
			t.Errorf("with %q: exit code %d, %q, %q", c.password, r.Code, r.Stdout, r.Stderr)
		}
	}
}
