package wire

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file anew: only for messages and fields that are new")

// Keepers and controllers of different builds speak to each other: what a message is on the wire stays, byte by byte. Fields are added at the end.
func TestMessagesStayAsTheyAre(t *testing.T) {
	const golden = "testdata/messages"
	var text strings.Builder
	for _, m := range []any{
		&Hello{}, &Failure{}, &Sandbox{}, &SandboxMade{}, &ID{}, &Attach{}, &Start{}, &Started{}, &Exec{}, &Signal{}, &Exit{}, &List{}, &Adopt{},
		&Mount{}, &Join{}, &Shutdown{}, &Upgrade{}, &ProxyState{}, &Serve{}, &Held{},
	} {
		n := 0
		fill(reflect.ValueOf(m).Elem(), &n)
		p := Encode(HelloKind, 1, m)
		fmt.Fprintf(&text, "%T %s\n", m, hex.EncodeToString(p))
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface()
		Decode(p, got)
		if d := cmp.Diff(m, got); d != "" {
			t.Errorf("%T comes back as another (-want +got):\n%s", m, d)
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text.String()); d != "" {
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
		fill(v.Index(0), n)
		fill(v.Index(1), n)
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
