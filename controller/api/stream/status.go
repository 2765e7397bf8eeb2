package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Words of the remote command protocol, version 4 and later.
const (
	reasonExitCode metav1.StatusReason = "NonZeroExitCode"
	causeExitCode  metav1.CauseType    = "ExitCode"
)

// outcome is how a command ended, in the protocol's words.
func outcome(code int, err error) *metav1.Status {
	switch {
	case err != nil:
		s := apierrors.NewInternalError(err).Status()
		return &s
	case code != 0:
		return &metav1.Status{
			Status: metav1.StatusFailure, Reason: reasonExitCode, Message: fmt.Sprintf("command terminated with non-zero exit code: exit status %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: causeExitCode, Message: strconv.Itoa(code)}}},
		}
	}
	return &metav1.Status{Status: metav1.StatusSuccess}
}

func notFound(name string) error { return apierrors.NewNotFound(corev1.Resource("pods"), name) }

func badRequest(format string, args ...any) error {
	return apierrors.NewBadRequest(fmt.Sprintf(format, args...))
}

func methodNotAllowed(method, subresource string) error {
	return refusal(http.StatusMethodNotAllowed, fmt.Sprintf("%s is not supported on pods/%s", method, subresource))
}

// refusal is an error with an HTTP code of its own.
func refusal(code int, text string) error {
	reason := metav1.StatusReasonBadRequest
	switch code {
	case http.StatusForbidden:
		reason = metav1.StatusReasonForbidden
	case http.StatusMethodNotAllowed:
		reason = metav1.StatusReasonMethodNotAllowed
	case http.StatusInternalServerError:
		reason = metav1.StatusReasonInternalError
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: text}} //nolint:gosec // an HTTP code
}

// refuse answers with an error instead of a stream.
func refuse(w http.ResponseWriter, err error) {
	var api apierrors.APIStatus
	if !errors.As(err, &api) {
		api = apierrors.NewInternalError(err)
	}
	s := api.Status()
	s.Kind, s.APIVersion = "Status", "v1"
	data, err := json.Marshal(s)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(s.Code))
	_, _ = w.Write(append(data, '\n')) // the client went away: nobody to tell
}
