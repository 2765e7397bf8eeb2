package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fail answers with the metav1.Status of an error.
func (s *Server) fail(w http.ResponseWriter, hr *http.Request, err error) {
	status := StatusOf(err)
	if status.Code >= http.StatusInternalServerError && status.Reason != metav1.StatusReasonServiceUnavailable { // that is a pod's
		s.opts.Log.Error(err, "cannot answer", "method", hr.Method, "path", hr.URL.Path)
	}
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(d.RetryAfterSeconds))
	}
	if werr := s.write(w, hr, int(status.Code), &status); werr != nil { // nothing that the client accepts: JSON, then
		data, _ := json.Marshal(status) //nolint:errchkjson // a struct of strings and numbers
		w.Header().Set("Content-Type", jsonType)
		w.WriteHeader(int(status.Code))
		_, _ = w.Write(data) // the client went away: nobody to tell
	}
}

// StatusOf is an error as the API tells it.
func StatusOf(err error) metav1.Status {
	var status metav1.Status
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		status = known.Status()
	} else {
		status = apierrors.NewInternalError(err).Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	return status
}

func errNoPage() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
	}}
}

func errNotAllowed(r *Request) error {
	return apierrors.NewMethodNotSupported(r.Resource.GroupResource(), r.Verb)
}

func errNotAcceptable(accepted string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + accepted,
	}}
}

func errTooOld(version uint64) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", version))
}

func badOption(text string) error { return apierrors.NewBadRequest(text) }
