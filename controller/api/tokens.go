package api

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// token is what `kubectl create token` asks for. Nobody here would take one, so none is given that looks as if somebody did.
func (s *Server) token(_ http.ResponseWriter, r *Request) error {
	if _, err := s.Object(r); err != nil {
		return err
	}
	return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, errors.New("berth issues no tokens, as its API takes none: a client certificate lets in, the one in RUN-DIR/kubeconfig"))
}
