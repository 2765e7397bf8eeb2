package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// grpcText has a host whose pods speak gRPC, and one whose pods speak TLS.
const grpcText = `apiVersion: v1
kind: Service
metadata: {name: up}
spec:
  selector: {app: up}
  ports: [{name: grpc, port: 9090, targetPort: 8080, appProtocol: kubernetes.io/h2c}, {name: tls, port: 443, targetPort: 8443, appProtocol: https}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: grpc}
spec: {rules: [{host: grpc.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: up, port: {name: grpc}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: tls}
spec:
  tls: [{hosts: [tls.test, grpc.test], secretName: tls}]
  rules: [{host: tls.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: up, port: {name: tls}}}}]}}]
`

// TestIngressCarriesGRPC: calls of gRPC reach pods that speak it, by TLS and without, and pods that speak HTTPS are spoken to so.
func TestIngressCarriesGRPC(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	ca := newAuthority(t)
	b.Write("tls.yaml", ca.secret(t, "tls", "grpc.test"))
	b.Write("up.yaml", deployment("up", 1, run("serve")).String()+"---\n"+grpcText)
	b.Up()
	b.UntilReady("up-", 1)
	to := func(port string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		}
	}
	plain := &http.Transport{Protocols: &http.Protocols{}, DialContext: to("80")}
	plain.Protocols.SetUnencryptedHTTP2(true)
	secure := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: to("443")}
	defer plain.CloseIdleConnections()
	defer secure.CloseIdleConnections()
	for url, by := range map[string]*http.Transport{"http://grpc.test": plain, "https://grpc.test": secure, "https://tls.test": secure} {
		b.Until(url+" to answer a call", func() error {
			answer, err := (&http.Client{Transport: by, Timeout: 5 * time.Second}).Post(url+"/grpc.health.v1.Health/Check", "application/grpc", bytes.NewReader([]byte("\x00\x00\x00\x00\x04\x0a\x02up")))
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if got := fmt.Sprintf("%s %d %q %s %v", answer.Proto, answer.StatusCode, body, answer.Trailer.Get("Grpc-Status"), err); got != `HTTP/2.0 200 "\x00\x00\x00\x00\x02\b\x01" 0 <nil>` {
				return fmt.Errorf("it says %s", got)
			}
			return nil
		})
	}
}
