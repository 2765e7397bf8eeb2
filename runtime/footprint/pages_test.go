package footprint

import (
	"bufio"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnchangedPages(t *testing.T) {
	const smaps = `00400000-01a00000 r-xp 00000000 fe:00 12 /usr/bin/berth
Rss:               10000 kB
Anonymous:             0 kB
01a00000-03000000 r--p 01600000 fe:00 12 /usr/bin/berth
Anonymous:             4 kB
03000000-03100000 rw-p 02c00000 fe:00 12 /usr/bin/berth
Anonymous:             0 kB
03100000-03200000 r--p 02c00000 fe:00 12 /usr/bin/berth
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 13 /usr/lib/other
Anonymous:             0 kB
`
	got := unchangedPages(bufio.NewScanner(strings.NewReader(smaps)), "/usr/bin/berth")
	want := []pages{{0x400000, 0x1a00000}, {0x3100000, 0x3200000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(pages{})); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}
