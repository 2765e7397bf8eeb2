package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reviews answer what a user may do and who it is. There is one kind of user here: whoever was let in is the machine's administrator, for a pod can be made that is
// root of the machine. So RBAC objects are kept, and decide nothing; `berth validate` says so.

// reviews enters the resources that are only ever created, and kept nowhere.
func (s *Server) reviews() {
	s.Handle("create", "selfsubjectaccessreviews", "", func(w http.ResponseWriter, r *Request) error {
		var review authorizationv1.SelfSubjectAccessReview
		if err := decodeReview(r, &review); err != nil {
			return err
		}
		if review.Spec.ResourceAttributes == nil && review.Spec.NonResourceAttributes == nil {
			return apierrors.NewBadRequest("spec: exactly one of nonResourceAttributes or resourceAttributes must be specified")
		}
		review.TypeMeta = typeMeta(r)
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "whoever reaches berth administers it"}
		return s.Respond(w, r, http.StatusCreated, &review)
	})
	s.Handle("create", "selfsubjectrulesreviews", "", func(w http.ResponseWriter, r *Request) error {
		var review authorizationv1.SelfSubjectRulesReview
		if err := decodeReview(r, &review); err != nil {
			return err
		}
		all := []string{"*"}
		review.TypeMeta = typeMeta(r)
		review.Status = authorizationv1.SubjectRulesReviewStatus{
			ResourceRules:    []authorizationv1.ResourceRule{{Verbs: all, APIGroups: all, Resources: all}},
			NonResourceRules: []authorizationv1.NonResourceRule{{Verbs: all, NonResourceURLs: all}},
		}
		return s.Respond(w, r, http.StatusCreated, &review)
	})
	s.Handle("create", "selfsubjectreviews", "", func(w http.ResponseWriter, r *Request) error {
		var review authenticationv1.SelfSubjectReview
		if err := decodeReview(r, &review); err != nil {
			return err
		}
		u := r.User()
		review.TypeMeta = typeMeta(r)
		review.Status.UserInfo = authenticationv1.UserInfo{Username: u.Name, Groups: u.Groups}
		return s.Respond(w, r, http.StatusCreated, &review)
	})
}

func typeMeta(r *Request) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: r.Resource.Kind, APIVersion: r.Resource.GVK().GroupVersion().String()}
}

func decodeReview(r *Request, into any) error {
	data, err := body(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot decode the body: %v", err))
	}
	return nil
}
