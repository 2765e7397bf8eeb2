package manifests

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// typeTable remembers the JSON names of Go types.
type typeTable struct {
	structs sync.Map // reflect.Type → *structType
}

// structType is a struct as JSON sees it: embedded structs flattened.
type structType struct {
	table  string // its name in package fields: core/v1.Container
	fields map[string]reflect.Type
	names  []string // sorted
}

func (t *typeTable) of(typ reflect.Type) *structType {
	if s, ok := t.structs.Load(typ); ok {
		return s.(*structType)
	}
	s := &structType{table: tableType(typ), fields: map[string]reflect.Type{}}
	s.add(typ)
	for name := range s.fields {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	got, _ := t.structs.LoadOrStore(typ, s)
	return got.(*structType)
}

func (s *structType) add(typ reflect.Type) {
	for f := range typ.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "" || strings.Contains(opts, "inline"):
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			s.add(embedded)
		default:
			if name == "" {
				name = f.Name
			}
			s.fields[name] = f.Type
		}
	}
}

// leaf is a Go type that reads its JSON itself.
type leaf int

const (
	noLeaf leaf = iota
	quantityLeaf
	intOrStringLeaf
	timeLeaf
	microTimeLeaf
	durationLeaf
	bytesLeaf
	anyLeaf
)

var (
	quantityType    = reflect.TypeFor[resource.Quantity]()
	intOrStringType = reflect.TypeFor[intstr.IntOrString]()
	timeType        = reflect.TypeFor[metav1.Time]()
	microTimeType   = reflect.TypeFor[metav1.MicroTime]()
	durationType    = reflect.TypeFor[metav1.Duration]()
	rawType         = reflect.TypeFor[kruntime.RawExtension]()
	fieldsType      = reflect.TypeFor[metav1.FieldsV1]()
	bytesType       = reflect.TypeFor[[]byte]()
)

func leafOf(t reflect.Type) leaf {
	switch t {
	case quantityType:
		return quantityLeaf
	case intOrStringType:
		return intOrStringLeaf
	case timeType:
		return timeLeaf
	case microTimeType:
		return microTimeLeaf
	case durationType:
		return durationLeaf
	case bytesType:
		return bytesLeaf
	case rawType, fieldsType:
		return anyLeaf
	}
	if t.Kind() == reflect.Interface {
		return anyLeaf
	}
	return noLeaf
}

// elsewhere finds the places below root where a field of that name belongs, nearest to path first: hostNetwork written into a
// Deployment's spec belongs to spec.template.spec.
func (t *typeTable) elsewhere(root reflect.Type, path, name string) string {
	parent := plainPath(path)
	if i := strings.LastIndexByte(parent, '.'); i >= 0 {
		parent = parent[:i]
	} else {
		parent = ""
	}
	best, bestCost := "", 1<<30
	t.walk(root, "", map[reflect.Type]bool{}, func(at, field string) {
		if field != name || at == parent || strings.HasPrefix(at, "status") || strings.Contains(at, "managedFields") || strings.Contains(at, "ephemeralContainers") {
			return
		}
		cost := 100*steps(strings.TrimPrefix(at, sharedSteps(at, parent))) + 100*steps(strings.TrimPrefix(parent, sharedSteps(at, parent)))
		if strings.Contains(at, "initContainers") || strings.Contains(at, "volumes") {
			cost += 10
		}
		if cost < bestCost || cost == bestCost && at < best {
			best, bestCost = at, cost
		}
	})
	return best
}

// walk visits each field below a type once per path; a type is not entered twice on one path.
func (t *typeTable) walk(typ reflect.Type, at string, above map[reflect.Type]bool, visit func(at, field string)) {
	suffix := ""
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		if leafOf(typ) != noLeaf || typ.Kind() == reflect.Map {
			return
		}
		if typ.Kind() == reflect.Slice {
			suffix = "[]"
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || leafOf(typ) != noLeaf || above[typ] {
		return
	}
	above[typ] = true
	defer delete(above, typ)
	at += suffix
	s := t.of(typ)
	for _, name := range s.names {
		visit(at, name)
		below := name
		if at != "" {
			below = at + "." + name
		}
		t.walk(s.fields[name], below, above, visit)
	}
}

// plainPath takes the indexes and keys out of a field path: spec.containers[3].env → spec.containers[].env.
func plainPath(path string) string {
	var b strings.Builder
	for path != "" {
		step, isIndex, rest := nextStep(path)
		if isIndex {
			b.WriteString("[]")
		} else {
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
		path = rest
	}
	return b.String()
}

func steps(path string) int {
	if path == "" {
		return 0
	}
	return strings.Count(strings.Trim(path, "."), ".") + 1
}

// sharedSteps is the beginning that two paths have in common, in whole steps.
func sharedSteps(a, b string) string {
	end := 0
	for i := 0; ; i++ {
		aEnd, bEnd := i == len(a), i == len(b)
		if (aEnd || a[i] == '.') && (bEnd || b[i] == '.') {
			end = i
		}
		if aEnd || bEnd || a[i] != b[i] {
			return a[:end]
		}
	}
}
