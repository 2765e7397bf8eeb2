package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoundTrip(t *testing.T) {
	want := Start{ID: "a/b/0", Flags: 1 << 40, Program: Program{Inline: []byte{1, 2}, Files: 3}, Log: Log{Stdout: "x", Files: 4}, TTY: true, Timeout: -1}
	p := Encode(StartKind, 7, &want)
	var got Start
	Decode(p, &got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if kind, id, ok := Header(p); kind != StartKind || id != 7 || !ok {
		t.Errorf("header = %v %v %v", kind, id, ok)
	}
	list := List{More: true, Containers: []Container{{ID: "a", Exit: Exit{Known: true, Status: 9}}, {ID: "b"}}, Sandboxes: []SandboxState{{ID: "s", PID: 4}}}
	var gotList List
	Decode(Encode(ListKind, 0, &list), &gotList)
	if d := cmp.Diff(list, gotList); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// longer is a Mount as a later version may have it.
type longer struct {
	Mount
	Extra string
}

func TestFieldsAreAddedAtTheEnd(t *testing.T) {
	var short Mount
	Decode(Encode(MountKind, 1, &longer{Mount{"p", "o"}, "new"}), &short)
	if short != (Mount{"p", "o"}) {
		t.Errorf("a later message reads %+v", short)
	}
	long := longer{Extra: "stale"}
	Decode(Encode(MountKind, 1, &Mount{"p", "o"}), &long)
	if long != (longer{Mount{"p", "o"}, ""}) {
		t.Errorf("an earlier message reads %+v", long)
	}
}

func TestExitRecord(t *testing.T) {
	want := Exit{ID: "uid/app/0", PID: 12, Known: true, Status: 9, At: 1234567890123456789}
	p := AppendExit(nil, want)
	got, err := ParseExit(p)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range p {
		if _, err := ParseExit(p[:i]); err == nil {
			t.Errorf("%q is accepted", p[:i])
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(StartKind, 1, &Start{ID: "x", Program: Program{Inline: []byte("abc")}}))
	f.Fuzz(func(_ *testing.T, p []byte) {
		for _, m := range []any{&Start{}, &List{}, &Sandbox{}, &Exec{}, &Adopt{}, &Join{}, &Failure{}} {
			Decode(p, m)
		}
	})
}
