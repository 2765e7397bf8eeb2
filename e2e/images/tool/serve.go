package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// serve answers probes: HTTP and gRPC on port 8080, HTTPS on 8443.
//
//	/                  503
//	/status/CODE       CODE
//	/if/HEADER         200 with this header, 412 without
//	/get, /set/CODE    what was set last, at first 200
//
// Every request is printed. The gRPC service "up" is serving, any other is not.
func serve(delay time.Duration) {
	time.Sleep(delay)
	var set atomic.Int64
	set.Store(http.StatusOK)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
		part := strings.Split(r.URL.Path, "/")
		code := http.StatusServiceUnavailable
		switch {
		case part[1] == "status" && len(part) > 2:
			code, _ = strconv.Atoi(part[2])
		case part[1] == "if" && len(part) > 2:
			if code = http.StatusOK; r.Header.Get(part[2]) == "" {
				code = http.StatusPreconditionFailed
			}
		case part[1] == "get":
			code = int(set.Load())
		case part[1] == "set" && len(part) > 2:
			n, _ := strconv.Atoi(part[2])
			set.Store(int64(n))
			code = http.StatusOK
		}
		w.WriteHeader(code)
	})
	mux.HandleFunc("POST /grpc.health.v1.Health/Check", health)
	plain := &http.Server{Addr: ":8080", Handler: mux, Protocols: new(http.Protocols)}
	plain.Protocols.SetHTTP1(true)
	plain.Protocols.SetUnencryptedHTTP2(true)
	secure := &http.Server{Addr: ":8443", Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}}
	errs := make(chan error)
	go func() { errs <- plain.ListenAndServe() }()
	go func() { errs <- secure.ListenAndServeTLS("", "") }()
	fmt.Println("serving")
	fmt.Fprintln(os.Stderr, <-errs)
	os.Exit(1)
}

// health is the call of grpc.health.v1, by hand: a message is a flag, its length and its fields.
func health(w http.ResponseWriter, r *http.Request) {
	message, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	status := byte(2)
	if strings.HasSuffix(string(message), "\x02up") {
		status = 1
	}
	answer := binary.BigEndian.AppendUint32([]byte{0}, 2)
	_, _ = w.Write(append(answer, 8, status))
	w.Header().Set("Grpc-Status", "0")
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
