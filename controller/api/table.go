package api

import (
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/api/table"
	"berth/controller/store"
)

// tabler makes tables of one resource for one request.
type tabler struct {
	include metav1.IncludeObjectPolicy
	r       *Request
	now     func() time.Time
}

var tableKind = metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}

func (s *Server) newTabler(r *Request) *tabler {
	return &tabler{r: r, include: metav1.IncludeObjectPolicy(r.Query.Get("includeObject")), now: s.opts.Clock.Now}
}

// rows is a metav1.Table, and a row one of it, with an object that is encoded where it stands: a RawExtension would be encoded twice.
type rows struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ListMeta   `json:"metadata"`
	ColumnDefinitions []metav1.TableColumnDefinition `json:"columnDefinitions"`
	Rows              []row                          `json:"rows"`
}

type row struct {
	Cells      []any                      `json:"cells"`
	Conditions []metav1.TableRowCondition `json:"conditions,omitempty"`
	Object     any                        `json:"object"`
}

// table is an object as a table of one row; columns tells whether to say what they mean.
func (t *tabler) table(obj store.Object, columns bool) (*rows, error) {
	out := &rows{TypeMeta: tableKind, ListMeta: metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}}
	if columns {
		out.ColumnDefinitions = table.Columns(t.r.Resource.Kind)
	}
	row, err := t.row(obj)
	out.Rows = append(out.Rows, row)
	return out, err
}

// row is an object as a row.
func (t *tabler) row(obj store.Object) (out row, err error) {
	shown, err := tabular(present(obj))
	if err != nil {
		return out, err
	}
	out.Cells, out.Conditions = table.Row(shown, t.now())
	out.Object, err = t.attached(obj)
	return out, err
}

// tabular is an object in the version that tables are made of.
func tabular(obj store.Object) (store.Object, error) {
	if _, old := obj.(*autoscalingv1.HorizontalPodAutoscaler); old {
		return convert(obj, autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))
	}
	return obj, nil
}

// attached is what goes along with a row.
func (t *tabler) attached(obj store.Object) (any, error) {
	switch t.include {
	case metav1.IncludeNone:
		return nil, nil //nolint:nilnil // null
	case metav1.IncludeObject:
		return Typed(t.r.Resource, obj)
	case metav1.IncludeMetadata, "":
		return partial(obj, "v1"), nil
	}
	return nil, badOption(fmt.Sprintf("includeObject: Unsupported value: %q", t.include))
}
