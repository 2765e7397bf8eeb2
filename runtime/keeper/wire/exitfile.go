package wire

import (
	"errors"
	"strconv"
)

// An exit record is one line: `berth-exit 1 ID PID KNOWN STATUS UNIX-NANOSECONDS`. STATUS is that of wait4, in decimal.

// AppendExit appends the record of an exit.
func AppendExit(p []byte, e Exit) []byte {
	p = append(p, "berth-exit 1 "...)
	p = append(p, e.ID...)
	known := int64(0)
	if e.Known {
		known = 1
	}
	for _, v := range []int64{int64(e.PID), known, int64(e.Status), e.At} {
		p = append(p, ' ')
		p = strconv.AppendInt(p, v, 10)
	}
	return append(p, '\n')
}

// ParseExit reads a record.
func ParseExit(p []byte) (Exit, error) {
	fields := make([]string, 0, 7)
	start := 0
	for i, b := range p {
		if b == ' ' || b == '\n' {
			fields = append(fields, string(p[start:i]))
			start = i + 1
		}
	}
	if start != len(p) || len(fields) != 7 || fields[0] != "berth-exit" || fields[1] != "1" {
		return Exit{}, errors.New("not an exit record")
	}
	var v [4]int64
	for i := range v {
		n, err := strconv.ParseInt(fields[3+i], 10, 64)
		if err != nil {
			return Exit{}, errors.New("not an exit record")
		}
		v[i] = n
	}
	return Exit{ID: fields[2], PID: int(v[0]), Known: v[1] != 0, Status: uint32(v[2]), At: v[3]}, nil
}
