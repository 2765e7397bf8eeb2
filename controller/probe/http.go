package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// userAgent begins as the kubelet's does: servers and log filters know it by that.
const userAgent = "kube-%s/1.36 (berth)"

// maxRedirects is how many redirects to the same host are followed.
const maxRedirects = 10

// askHTTP is a success from 200 to 399. A redirect to another host is not followed: it is a success with a warning.
func (a Asker) askHTTP(ctx context.Context, t *Target, get *corev1.HTTPGetAction) (result, string, error) {
	req, err := request(ctx, t, get, "probe")
	if err != nil {
		return failure, "", err
	}
	res, err := a.client(t).Do(req)
	if err != nil {
		return failure, err.Error(), nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	switch {
	case err != nil:
		return failure, err.Error(), nil
	case res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusBadRequest:
		return failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", res.StatusCode), nil
	case res.StatusCode >= http.StatusMultipleChoices:
		return warning, fmt.Sprintf("Probe terminated redirects, Response body: %s", body), nil
	}
	return success, "", nil
}

// client makes one connection for each request, to the container only: no proxy of the machine, no certificate is checked.
func (a Asker) client(t *Target) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return a.dial(ctx, t, network, addr)
			},
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the kubelet: a container has no name to check
			DisableKeepAlives:  true,
			DisableCompression: true,
			ForceAttemptHTTP2:  true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= maxRedirects {
				return fmt.Errorf("stopped after %d redirects", maxRedirects)
			}
			return nil
		},
	}
}

// request is the GET that an action describes.
func request(ctx context.Context, t *Target, get *corev1.HTTPGetAction, purpose string) (*http.Request, error) {
	port, err := portOf(get.Port, t.Container)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path}
	}
	u.Scheme, u.Host = "http", t.address(get.Host, port)
	if get.Scheme != "" {
		u.Scheme = strings.ToLower(string(get.Scheme))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	for _, h := range get.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	if _, stated := req.Header["User-Agent"]; !stated {
		req.Header.Set("User-Agent", fmt.Sprintf(userAgent, purpose))
	}
	if accept, stated := req.Header["Accept"]; !stated {
		req.Header.Set("Accept", "*/*")
	} else if accept[0] == "" {
		req.Header.Del("Accept")
	}
	req.Host = req.Header.Get("Host")
	return req, nil
}
