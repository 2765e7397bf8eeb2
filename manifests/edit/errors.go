package edit

import (
	"errors"
	"fmt"
)

// ErrNotThere says that the file does not state the object, or not as it was seen: it was edited meanwhile.
var ErrNotThere = errors.New("the file has changed meanwhile")

// Error says why a change cannot be written into a file faithfully. Nothing was changed.
type Error struct {
	// Line of the file, from 1; 0 when the whole file is meant.
	Line int
	// Field is the path of what was to be changed, "" when it is the object.
	Field string
	// Reason is a clause (the value comes from the anchor &x); Remedy what to do, "" when that is plain.
	Reason, Remedy string
}

// Error is the reason with its field.
func (e *Error) Error() string {
	s := e.Reason
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return fmt.Sprintf("cannot change the file in place: %s", s)
}
