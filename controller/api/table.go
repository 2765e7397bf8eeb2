package api

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"berth/controller/store"
)

// tabler makes tables of one resource for one request.
type tabler struct {
	columns []metav1.TableColumnDefinition
	rows    func(store.Object) []metav1.TableRow
	include metav1.IncludeObjectPolicy
	r       *Request
}

func newTabler(r *Request) *tabler {
	t := &tabler{r: r, include: metav1.IncludeObjectPolicy(r.Query.Get("includeObject"))}
	t.columns, t.rows = nameAndAge()
	return t
}

// table is the objects as rows; columns tells whether to say what they mean.
func (t *tabler) table(objects []store.Object, meta metav1.ListMeta, columns bool) (*metav1.Table, error) {
	table := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: meta, Rows: []metav1.TableRow{}}
	if columns {
		table.ColumnDefinitions = t.columns
	}
	for _, obj := range objects {
		for _, row := range t.rows(obj) {
			if err := t.attach(&row, obj); err != nil {
				return nil, err
			}
			table.Rows = append(table.Rows, row)
		}
	}
	return table, nil
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

func nameAndAge() ([]metav1.TableColumnDefinition, func(store.Object) []metav1.TableRow) {
	columns := []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name"},
		{Name: "Age", Type: "string"},
	}
	return columns, func(o store.Object) []metav1.TableRow {
		return []metav1.TableRow{{Cells: []any{o.GetName(), ""}}}
	}
}
