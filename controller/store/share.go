package store

import "reflect"

// share gives obj the parts that like has the same, and tells nobody: nothing in the store is changed in place, so a thousand pods of one template can have one spec, and
// the versions of an object all that did not change, however they came here (decoded from a client's patch, or from what a sandbox carries).
func share(obj, like Object) {
	to, from := reflect.ValueOf(obj), reflect.ValueOf(like)
	if obj == like || to.Type() != from.Type() || to.Kind() != reflect.Pointer || to.Elem().Kind() != reflect.Struct {
		return
	}
	shareParts(to.Elem(), from.Elem())
}

func shareParts(to, from reflect.Value) {
	switch to.Kind() {
	case reflect.Struct:
		for i := range to.NumField() {
			if f := to.Field(i); f.CanSet() {
				shareParts(f, from.Field(i))
			}
		}
	case reflect.String:
		if s := from.String(); s != "" && s == to.String() {
			to.SetString(s)
		}
	case reflect.Map, reflect.Pointer, reflect.Slice:
		switch {
		case to.IsNil() || from.IsNil() || to.UnsafePointer() == from.UnsafePointer():
		case reflect.DeepEqual(to.Interface(), from.Interface()):
			to.Set(from)
		case to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Struct:
			for i := range min(to.Len(), from.Len()) {
				shareParts(to.Index(i), from.Index(i))
			}
		}
	default: // numbers hold nothing
	}
}
