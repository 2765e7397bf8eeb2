package keeper_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime/keeper"
	"berth/runtime/keeper/wire"
)

var update = flag.Bool("update", false, "write the golden file anew: only together with another stateVersion, or for fields that are new")

// At an upgrade one build reads what another has written: the state stays what it is, byte by byte, but for fields at the ends.
func TestStateStaysAsItIs(t *testing.T) {
	const golden = "testdata/state"
	want, got := keeper.NewState(), keeper.NewState()
	n := 0
	fill(reflect.ValueOf(want).Elem(), &n)
	p := wire.Encode(wire.HelloKind, 1, want)
	wire.Decode(p, got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("it comes back as another (-want +got):\n%s", d)
	}
	text := hex.EncodeToString(p) + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(file), text); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// fill gives each field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(-*n))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic("no value for a " + v.Kind().String())
	}
}
