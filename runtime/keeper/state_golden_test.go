package keeper_test

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime/internal/golden"
	"berth/runtime/keeper"
	"berth/runtime/keeper/wire"
)

// At an upgrade one build reads what another has written: the state stays what it is, byte by byte, but for fields at the ends. What changes needs
// another stateVersion.
func TestStateStaysAsItIs(t *testing.T) {
	want, got := keeper.NewState(), keeper.NewState()
	golden.Fill(want)
	p := wire.Encode(wire.HelloKind, 1, want)
	wire.Decode(p, got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("it comes back as another (-want +got):\n%s", d)
	}
	golden.Compare(t, "testdata/state", hex.EncodeToString(p)+"\n")
}
