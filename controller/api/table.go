package api

import (
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

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

// table is the objects as rows; columns tells whether to say what they mean.
func (t *tabler) table(objects []store.Object, meta metav1.ListMeta, columns bool) (*metav1.Table, error) {
	out := &metav1.Table{TypeMeta: tableKind, ListMeta: meta, Rows: []metav1.TableRow{}}
	if columns {
		out.ColumnDefinitions = table.Columns(t.r.Resource.Kind)
	}
	for _, obj := range objects {
		row, err := t.row(obj)
		if err != nil {
			return nil, err
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

// row is an object as a row.
func (t *tabler) row(obj store.Object) (row metav1.TableRow, err error) {
	shown, err := tabular(present(obj))
	if err != nil {
		return row, err
	}
	row.Cells, row.Conditions = table.Row(shown, t.now())
	return row, t.attach(&row, obj)
}

// tabular is an object in the version that tables are made of.
func tabular(obj store.Object) (store.Object, error) {
	if _, old := obj.(*autoscalingv1.HorizontalPodAutoscaler); old {
		return convert(obj, autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))
	}
	return obj, nil
}

func (t *tabler) attach(row *metav1.TableRow, obj store.Object) error {
	switch t.include {
	case metav1.IncludeNone:
	case metav1.IncludeObject:
		typed, err := Typed(t.r.Resource, obj)
		if err != nil {
			return err
		}
		row.Object = kruntime.RawExtension{Object: typed}
	case metav1.IncludeMetadata, "":
		row.Object = kruntime.RawExtension{Object: partial(obj, "v1")}
	default:
		return badOption(fmt.Sprintf("includeObject: Unsupported value: %q", t.include))
	}
	return nil
}
