package proxy

import (
	"context"
	"os"
)

// init takes over for `BINARY proxy --run-dir DIR`, before the packages that only a controller needs are initialised.
func init() {
	if len(os.Args) == 4 && os.Args[1] == "proxy" && os.Args[2] == "--run-dir" {
		os.Exit(main(os.Args[3]))
	}
}

func main(runDir string) int {
	hide()
	if err := Run(context.Background(), runDir); err != nil {
		_, _ = os.Stderr.WriteString("berth proxy: " + err.Error() + "\n") // there is no other place to complain to
		return 1
	}
	return 0
}
