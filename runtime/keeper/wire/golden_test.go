package wire_test

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime/internal/golden"
	"berth/runtime/keeper/wire"
)

// Keepers and controllers of different builds speak to each other: what a message is on the wire stays, byte by byte. Fields are added at the end.
func TestMessagesStayAsTheyAre(t *testing.T) {
	var text strings.Builder
	for _, m := range []any{
		&wire.Hello{}, &wire.Failure{}, &wire.Sandbox{}, &wire.SandboxMade{}, &wire.ID{}, &wire.Attach{}, &wire.Start{}, &wire.Started{}, &wire.Exec{},
		&wire.Signal{}, &wire.Exit{}, &wire.List{}, &wire.Adopt{}, &wire.Mount{}, &wire.Join{}, &wire.Shutdown{}, &wire.Upgrade{}, &wire.ProxyState{},
		&wire.Serve{}, &wire.Held{},
	} {
		golden.Fill(m)
		p := wire.Encode(wire.HelloKind, 1, m)
		fmt.Fprintf(&text, "%T %s\n", m, hex.EncodeToString(p))
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface()
		wire.Decode(p, got)
		if d := cmp.Diff(m, got); d != "" {
			t.Errorf("%T comes back as another (-want +got):\n%s", m, d)
		}
	}
	golden.Compare(t, "testdata/messages", text.String())
}
