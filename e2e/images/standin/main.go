// Command standin takes the place of any program in any image: the first process of a container listens on the ports that the manifest states
// and answers every probe, until it is asked to end; what is to end by itself, such as a job or a probe's command, ends with success.
//
// What it stands in for is told by /standin.json of its image.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Part is what one image has to do.
type Part struct {
	Ports []int // answered with and without TLS
	// Ends are command lines that end by themselves, Stays go on.
	Ends, Stays [][]string
	// First are those that end once for each time they stand here, in each pod of this name.
	First map[string][][]string
}

func main() {
	var part Part
	if data, err := os.ReadFile("/standin.json"); err == nil {
		_ = json.Unmarshal(data, &part) // a part that cannot be read serves nothing and stays
	}
	if part.ends(os.Args) || os.Getpid() != 1 && parentIsHere() {
		return
	}
	done := make(chan os.Signal, 1)
	signal.Notify(done, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	certificate := selfSigned()
	for _, port := range part.Ports {
		go serve(port, certificate)
	}
	<-done
}

// parentIsHere tells that a program of this container started this one. The first process may have a parent to be seen, too, where the pod has
// the processes of the machine, but one with another root.
func parentIsHere() bool {
	parent := os.Getppid()
	if parent == 0 {
		return false
	}
	ours, err := os.Stat("/")
	theirs, err2 := os.Stat(fmt.Sprintf("/proc/%d/root/", parent))
	return err == nil && err2 == nil && os.SameFile(ours, theirs)
}

func (p *Part) ends(args []string) bool {
	this := func(line []string) bool { return len(line) > 0 && (same(line, args) || same(line, args[1:])) }
	first := p.first()
	if i := slices.IndexFunc(first, this); i >= 0 {
		times := 0
		for _, line := range first {
			if slices.Equal(line, first[i]) {
				times++
			}
		}
		if !slices.ContainsFunc(p.Stays, this) || starts(first[i]) <= times {
			return true
		}
	}
	return slices.ContainsFunc(p.Ends, this) && !slices.ContainsFunc(p.Stays, this)
}

// first is what the init containers of this pod run. A pod whose host has a name of its own is taken for any.
func (p *Part) first() (lines [][]string) {
	host, _ := os.Hostname()
	best := ""
	for name, own := range p.First {
		switch {
		case host == name, strings.HasPrefix(host, name+"-"):
			if len(name) > len(best) {
				best = name
			}
		case best == "":
			lines = append(lines, own...)
		}
	}
	if best != "" {
		return p.First[best]
	}
	return lines
}

// starts counts the starts of a command line in this pod: in a semaphore, which lives as long as the pod's IPC namespace.
func starts(line []string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.Join(line, "\x00"))) // never fails
	const create, getValue = 0o1666, 12                // IPC_CREAT and the mode; GETVAL
	id, _, errno := syscall.Syscall(syscall.SYS_SEMGET, uintptr(h.Sum32()|1), 1, create)
	if errno != 0 {
		return 0
	}
	up := struct {
		number         uint16
		value, options int16
	}{value: 1}
	_, _, _ = syscall.Syscall(syscall.SYS_SEMOP, id, uintptr(unsafe.Pointer(&up)), 1) // what fails counts as the first
	n, _, _ := syscall.Syscall(syscall.SYS_SEMCTL, id, 0, getValue)
	return int(n)
}

// same compares words; one with a variable in it stands for any.
func same(line, args []string) bool {
	return slices.EqualFunc(line, args, func(a, b string) bool { return a == b || strings.Contains(a, "$(") })
}

// serve answers HTTP/1, HTTP/2 without TLS and, when the first byte says so, TLS, with success.
func serve(port int, certificate tls.Certificate) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err) // another container of the pod has it
		return
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: http.HandlerFunc(answer), Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
	_ = server.Serve(&either{Listener: l, config: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}})
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		_, _ = io.WriteString(w, "standin\n")
		return
	}
	// grpc.health.v1.HealthCheckResponse{status: SERVING}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write([]byte{0, 0, 0, 0, 2, 0x08, 0x01})
	w.Header().Set("Grpc-Status", "0")
}

// either is a listener whose connections speak TLS when they begin with a handshake.
type either struct {
	net.Listener
	config *tls.Config
}

func (e *either) Accept() (net.Conn, error) {
	c, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	n, _ := c.Read(first)
	_ = c.SetReadDeadline(time.Time{})
	again := &replay{Conn: c, head: first[:n]}
	if n == 1 && first[0] == 0x16 {
		return tls.Server(again, e.config), nil
	}
	return again, nil
}

// replay gives the bytes that were read already, and then the rest.
type replay struct {
	net.Conn
	head []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
