package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
)

// Ten thousand watches, and thousands of connections that say nothing, neither keep others out nor take what the controller needs: who is too much is told, and
// everything is given back afterwards.
func TestKubeCrowd(t *testing.T) {
	b := harness.New(t)
	b.Write("one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")
	up := b.Up()
	config, err := harness.ReadKubeconfig(filepath.Join(b.Run, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	port := strings.TrimPrefix(config.URL, "https://")
	b.MustKubectl("get", "configmaps")
	files, memory := descriptors(t, up.PID()), anonymous(t, up.PID())

	var crowd []net.Conn
	defer func() {
		for _, c := range crowd {
			c.Close()
		}
	}()
	watch := func(c net.Conn) string {
		crowd = append(crowd, c)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(c, "GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
		lines := bufio.NewReader(c)
		line, err := lines.ReadString('\n')
		if err != nil {
			return err.Error()
		}
		if _, code, _ := strings.Cut(strings.TrimSpace(line), " "); code != "200 OK" {
			for !strings.Contains(line, "too many watches") {
				if line, err = lines.ReadString('}'); err != nil {
					return code + " without a reason"
				}
			}
			return code
		}
		return "200 OK"
	}
	t.Run("over TLS", func(t *testing.T) {
		const n = 500
		for range n {
			c, err := tls.Dial("tcp", port, config.TLS)
			if err != nil {
				t.Fatal(err)
			}
			if got := watch(c); got != "200 OK" {
				t.Fatalf("a watch: %s", got)
			}
		}
		t.Logf("%.0f KiB for each idle watch", float64(anonymous(t, up.PID())-memory)/n)
	})
	t.Run("ten thousand", func(t *testing.T) {
		n := min(10_000, openFiles(t)/2)
		got := map[string]int{}
		for range n {
			c, err := net.Dial("unix", filepath.Join(b.Run, "kube.sock"))
			if err != nil {
				t.Fatal(err)
			}
			got[watch(c)]++
		}
		if got["200 OK"] == 0 || got["200 OK"] > 500 || got["429 Too Many Requests"] != n-got["200 OK"] {
			t.Errorf("of %d watches: %v, want some let in, the others told that they are too many", n, got)
		}
		t.Logf("%v; %d descriptors, %d KiB more", got, descriptors(t, up.PID())-files, anonymous(t, up.PID())-memory)
		b.MustKubectl("get", "configmaps")
	})
	t.Run("silent", func(t *testing.T) {
		for range 3000 {
			c, err := net.Dial("tcp", port)
			if err != nil {
				t.Fatal(err)
			}
			crowd = append(crowd, c)
		}
		began := time.Now()
		b.MustKubectl("get", "configmaps")
		t.Logf("kubectl took %v", time.Since(began))
		if more := descriptors(t, up.PID()) - files; more > 3100 {
			t.Errorf("%d descriptors more", more)
		}
	})
	for _, c := range crowd {
		c.Close()
	}
	crowd = nil
	b.Until("everything to be given back", func() error {
		if more := descriptors(t, up.PID()) - files; more > 10 {
			return fmt.Errorf("%d descriptors more than before", more)
		}
		return nil
	})
	c, err := net.Dial("unix", filepath.Join(b.Run, "kube.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if got := watch(c); got != "200 OK" {
		t.Errorf("a watch afterwards: %s", got)
	}
	if more := anonymous(t, up.PID()) - memory; more > 150<<10 {
		t.Errorf("%d KiB more than before", more)
	} else {
		t.Logf("%d KiB more afterwards", more)
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// anonymous is the memory of a process that no file stands for, in KiB.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Anonymous:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	t.Fatalf("no Anonymous in %s", text)
	return 0
}

// openFiles is how many descriptors this process may have.
func openFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20))
}
