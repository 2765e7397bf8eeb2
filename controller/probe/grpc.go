package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The health protocol of gRPC (grpc.health.v1) is one call over HTTP/2 without TLS: a message with the name of a service in its first field
// goes there, one with a status in its first field comes back. That much is written here; a gRPC library would be 10 MB.
const (
	healthCheck = "/grpc.health.v1.Health/Check"
	prefixSize  = 5 // of each message: a flag for compression, then the length

	grpcOK               = 0
	grpcDeadlineExceeded = 4
	grpcUnimplemented    = 12

	// What makes up the encoding of a message's fields.
	wireVarint, wireFixed64, wireBytes, wireFixed32 = 0, 1, 2, 5
	firstField                                      = 1
)

// servingStatus are the answers by their numbers.
var servingStatus = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const serving = 1

// grpcCodes are how a call may have gone, by number, as gRPC prints them.
var grpcCodes = [...]string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
	"FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

func (a Asker) askGRPC(ctx context.Context, t *Target, port int, service string, timeout time.Duration) (result, string, error) {
	addr := t.address("", port)
	status, message, err := a.checkHealth(ctx, t, addr, service)
	late := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if dial, ok := errors.AsType[*dialError](err); ok {
		if late {
			return failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %v", addr, timeout, dial.err), nil
		}
		return failure, fmt.Sprintf("error: failed to connect service at %q: %v", addr, dial.err), nil
	}
	call, refused := errors.AsType[*callError](err)
	switch {
	case late, refused && call.code == grpcDeadlineExceeded:
		return failure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout), nil
	case refused && call.code == grpcUnimplemented:
		return failure, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " + call.message, nil
	case err != nil:
		return failure, fmt.Sprintf("error: health rpc probe failed: %v", err), nil
	case status != serving:
		return failure, fmt.Sprintf("service unhealthy (responded with %q)", message), nil
	}
	return success, "", nil
}

type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }

// callError is an answer that the call has failed.
type callError struct {
	code    int
	message string
}

func (e *callError) Error() string {
	name := strconv.Itoa(e.code)
	if e.code >= 0 && e.code < len(grpcCodes) {
		name = grpcCodes[e.code]
	}
	return fmt.Sprintf("rpc error: code = %s desc = %s", name, e.message)
}

// checkHealth returns the status of a service, as a number and in words.
func (a Asker) checkHealth(ctx context.Context, t *Target, addr, service string) (status uint64, words string, err error) {
	transport := &http.Transport{
		Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := a.dial(ctx, t, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		},
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+healthCheck, bytes.NewReader(healthRequest(service)))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", fmt.Sprintf(userAgent, "probe"))
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	if err != nil {
		return 0, "", err
	}
	if err := outcome(res); err != nil {
		return 0, "", err
	}
	if status, err = healthStatus(body); err != nil {
		return 0, "", err
	}
	words = strconv.FormatUint(status, 10)
	if status < uint64(len(servingStatus)) {
		words = servingStatus[status]
	}
	return status, words, nil
}

// outcome reads how the call went: from the trailer, or from the header of an answer without a body.
func outcome(res *http.Response) error {
	if kind := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "application/grpc") {
		return fmt.Errorf("unexpected answer: HTTP status code %d, content type %q", res.StatusCode, kind)
	}
	from := res.Trailer
	if res.Header.Get("Grpc-Status") != "" {
		from = res.Header
	}
	code, err := strconv.Atoi(from.Get("Grpc-Status"))
	if err != nil {
		return fmt.Errorf("unexpected answer: grpc-status %q", from.Get("Grpc-Status"))
	}
	if code == grpcOK {
		return nil
	}
	message, err := url.PathUnescape(from.Get("Grpc-Message"))
	if err != nil {
		message = from.Get("Grpc-Message")
	}
	return &callError{code, message}
}

// healthRequest is a message with the service in its first field.
func healthRequest(service string) []byte {
	message := make([]byte, prefixSize, prefixSize+12+len(service))
	if service != "" {
		message = binary.AppendUvarint(message, firstField<<3|wireBytes)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-prefixSize))
	return message
}

var errMessage = errors.New("cannot read the message of the answer")

// healthStatus reads the first field of a message; without one it is 0. Further fields are skipped.
func healthStatus(data []byte) (status uint64, err error) {
	if len(data) < prefixSize || data[0] != 0 {
		return 0, errMessage
	}
	size := binary.BigEndian.Uint32(data[1:])
	if data = data[prefixSize:]; uint64(size) != uint64(len(data)) {
		return 0, errMessage
	}
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return 0, errMessage
		}
		data = data[n:]
		value, skip := uint64(0), 0
		switch tag & 7 {
		case wireVarint:
			value, skip = binary.Uvarint(data)
			if skip <= 0 {
				return 0, errMessage
			}
			if tag>>3 == firstField {
				status = value
			}
		case wireBytes:
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)) {
				return 0, errMessage
			}
			skip = n + int(length)
		case wireFixed64:
			skip = 8
		case wireFixed32:
			skip = 4
		default:
			return 0, errMessage
		}
		if skip > len(data) {
			return 0, errMessage
		}
		data = data[skip:]
	}
	return status, nil
}
