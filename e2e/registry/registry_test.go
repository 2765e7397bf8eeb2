package registry

import (
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func pull(t *testing.T, ref string, auth authn.Authenticator) error {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r, remote.WithAuth(auth), remote.WithRetryStatusCodes())
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		body, err := l.Compressed()
		if err != nil {
			return err
		}
		if _, err := body.Read(make([]byte, 8<<10)); err != nil {
			return err
		}
		if err := body.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestRegistry(t *testing.T) {
	r, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	img, err := random.Image(4096, 2)
	if err != nil {
		t.Fatal(err)
	}
	tag, digest, err := r.Push("app:1", img)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{tag, digest} {
		if err := pull(t, ref, authn.Anonymous); err != nil {
			t.Error(err)
		}
	}
	if n := r.Asked("GET blob"); n < 4 {
		t.Errorf("%d blobs counted, 4 were pulled", n)
	}
	r.RequireLogin("me", "secret")
	if err := pull(t, tag, authn.Anonymous); err == nil {
		t.Error("pulled without a password")
	}
	if err := pull(t, tag, &authn.Basic{Username: "me", Password: "secret"}); err != nil {
		t.Error(err)
	}
	r.RequireLogin("", "")
	r.Answer(http.StatusServiceUnavailable)
	if err := pull(t, tag, authn.Anonymous); err == nil {
		t.Error("pulled from a registry that answers 503")
	}
	r.Answer(0)
	goOn := r.Stall()
	done := make(chan error, 1)
	go func() { done <- pull(t, tag, authn.Anonymous) }()
	<-r.Waiting()
	select {
	case err := <-done:
		t.Errorf("the pull ended while it was stalled: %v", err)
	default:
	}
	goOn()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.Stop()
	if err := pull(t, tag, authn.Anonymous); err == nil {
		t.Error("pulled from a registry that is down")
	}
	if err := r.Again(); err != nil {
		t.Fatal(err)
	}
	if err := pull(t, tag, authn.Anonymous); err != nil {
		t.Error(err)
	}
}
