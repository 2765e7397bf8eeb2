package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"berth/manifests"
	"berth/manifests/edit"
)

// body reads what a request brings along, as JSON; empty is nil.
func body(r *Request) ([]byte, error) {
	data, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", large.Limit))
	case err != nil:
		return nil, apierrors.NewBadRequest("cannot read the request: " + err.Error())
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media {
	case "", jsonType, "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json":
		return data, nil
	case protobufType:
		return fromProtobuf(data)
	case yamlType, "text/yaml", "application/x-yaml", "application/apply-patch+yaml":
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return nil, apierrors.NewBadRequest("error decoding YAML: " + err.Error())
		}
		return data, nil
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s, %s", jsonType, yamlType),
	}}
}

// object reads the object of a request and fills in what its path says.
func (s *Server) object(r *Request) (map[string]any, error) {
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	var obj map[string]any
	if err := utiljson.Unmarshal(data, &obj); err != nil || obj == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("couldn't get version/kind; json parse error: %v", err))
	}
	return obj, s.fit(r, obj)
}

// fit holds an object against the path of its request.
func (s *Server) fit(r *Request, obj map[string]any) error {
	gvk := r.Resource.GVK()
	if sub := r.Resource.subresource(r.Subresource); sub != nil {
		gvk = sub.gvk(r.Resource)
	}
	if k, _ := obj["kind"].(string); k == "" {
		obj["kind"] = gvk.Kind
	}
	if v, _ := obj["apiVersion"].(string); v == "" {
		obj["apiVersion"] = gvk.GroupVersion().String()
	}
	if obj["kind"] != gvk.Kind || obj["apiVersion"] != gvk.GroupVersion().String() {
		have := schema.FromAPIVersionAndKind(fmt.Sprint(obj["apiVersion"]), fmt.Sprint(obj["kind"]))
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have, gvk))
	}
	meta := below(obj, "metadata")
	if ns, _ := meta["namespace"].(string); ns != "" && ns != r.Namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("the namespace of the provided object does not match the namespace sent on the request (%s != %s)", ns, r.Namespace))
	}
	if delete(meta, "namespace"); r.Namespace != "" {
		meta["namespace"] = r.Namespace
	}
	if name, _ := meta["name"].(string); r.Name != "" && name != "" && name != r.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, r.Name))
	}
	if r.Name != "" {
		meta["name"] = r.Name
	}
	return nil
}

// below is the map below a key, which is made when it is missing.
func below(obj map[string]any, name string) map[string]any {
	m, ok := obj[name].(map[string]any)
	if !ok {
		m = map[string]any{}
		obj[name] = m
	}
	return m
}

// wished reads an object the way a manifest is read: with defaults and validation. Fields that nobody knows are refused, told of or left out,
// as the request wants it. The client is warned of what is not honoured, but for what stood in the object as it was seen.
func (s *Server) wished(w http.ResponseWriter, r *Request, seen, obj map[string]any) (manifests.Object, map[string]any, error) {
	mode := r.Query.Get("fieldValidation")
	if mode == "" {
		mode = metav1.FieldValidationWarn
	}
	d, err := decode(obj)
	if err != nil {
		return manifests.Object{}, nil, err
	}
	var unknown []string
	for _, f := range d.Faults {
		if f.Severity == manifests.Error && strings.HasPrefix(f.Text, "unknown field") {
			unknown = append(unknown, fmt.Sprintf("unknown field %q", f.Field))
		}
	}
	if len(unknown) > 0 {
		if mode == metav1.FieldValidationStrict {
			return manifests.Object{}, nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: strict decoding error: %s",
				r.Resource.Kind, r.Resource.Version, r.Resource.Kind, strings.Join(unknown, ", ")))
		}
		if mode == metav1.FieldValidationWarn {
			warn(w, unknown...)
		}
		if obj, err = edit.Canonical(r.Resource.GVK(), obj); err != nil {
			return manifests.Object{}, nil, invalid(r, err)
		}
		if d, err = decode(obj); err != nil {
			return manifests.Object{}, nil, err
		}
	}
	if len(d.Objects) != 1 {
		return manifests.Object{}, nil, faulty(r, d.Faults)
	}
	if texts := warnings(d.Faults); len(texts) > 0 {
		had := known(seen)
		warn(w, slices.DeleteFunc(texts, func(text string) bool { return slices.Contains(had, text) })...)
	}
	return d.Objects[0], obj, nil
}

func warnings(faults []manifests.Fault) []string {
	var texts []string
	for _, f := range faults {
		if f.Severity == manifests.Warning {
			kind, _, _ := strings.Cut(f.Object, "/")
			texts = append(texts, strings.TrimPrefix(cmp.Or(f.Field, kind)+": "+f.Text, ": "))
		}
	}
	return texts
}

// known are the warnings of an object that is there.
func known(seen map[string]any) []string {
	if seen == nil {
		return nil
	}
	d, err := decode(seen)
	if err != nil {
		return nil // so that it is warned once more
	}
	return warnings(d.Faults)
}

func decode(obj map[string]any) (manifests.Decoded, error) {
	data, err := json.Marshal(edit.Clean(obj))
	if err != nil {
		return manifests.Decoded{}, fmt.Errorf("cannot encode an object: %w", err)
	}
	return manifests.Decode("request.json", data), nil
}

// warn tells the client something beside the answer.
func warn(w http.ResponseWriter, texts ...string) {
	const enough = 20
	for _, t := range texts {
		if have := w.Header().Values("Warning"); len(have) < enough {
			w.Header().Add("Warning", fmt.Sprintf("299 - %q", strings.ToValidUTF8(t, "?")))
		}
	}
}

// faulty is the answer to an object with faults.
func faulty(r *Request, faults []manifests.Fault) error {
	status := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Details: &metav1.StatusDetails{Group: r.Resource.Group, Kind: r.Resource.Kind, Name: r.Name},
	}
	var texts []string
	for _, f := range faults {
		if f.Severity != manifests.Error {
			continue
		}
		if strings.HasPrefix(f.Text, "must be ") { // of another type
			status.Code, status.Reason = http.StatusBadRequest, metav1.StatusReasonBadRequest
		}
		reason, _, _ := strings.Cut(f.Text, ":")
		cause := metav1.StatusCause{Type: metav1.CauseType("FieldValue" + strings.ReplaceAll(reason, " value", "")), Message: f.Text, Field: f.Field}
		status.Details.Causes = append(status.Details.Causes, cause)
		texts = append(texts, strings.TrimPrefix(f.Field+": "+f.Text, ": "))
	}
	status.Message = fmt.Sprintf("%s %q is invalid: %s", schema.GroupKind{Group: r.Resource.Group, Kind: r.Resource.Kind}, r.Name, strings.Join(texts, ", "))
	if len(texts) > 1 {
		status.Message = fmt.Sprintf("%s %q is invalid: [%s]", schema.GroupKind{Group: r.Resource.Group, Kind: r.Resource.Kind}, r.Name, strings.Join(texts, ", "))
	}
	if len(texts) == 0 {
		status.Message = fmt.Sprintf("%s %q is no object that berth can read", r.Resource.Kind, r.Name)
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// invalid is the answer to what went wrong with a change of a file.
func invalid(r *Request, err error) error {
	var faults *edit.Invalid
	var refused *edit.Error
	switch {
	case errors.As(err, &faults):
		return faulty(r, faults.Faults)
	case errors.As(err, &refused):
		return faulty(r, []manifests.Fault{{Severity: manifests.Error, Field: refused.Field, Text: refused.Error()}})
	}
	return err
}
