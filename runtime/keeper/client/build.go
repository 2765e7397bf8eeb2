package client

import (
	"fmt"
	"os"
	"strconv"
)

// BuildOf is what a keeper that runs this binary says of itself in Info.Build: the size and time of the file.
func BuildOf(binary string) (string, error) {
	st, err := os.Stat(binary)
	if err != nil {
		return "", fmt.Errorf("cannot look at the binary: %w", err)
	}
	return strconv.FormatInt(st.Size(), 16) + "-" + strconv.FormatInt(st.ModTime().UnixNano(), 16), nil
}
