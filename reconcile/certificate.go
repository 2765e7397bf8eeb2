package reconcile

import (
	"fmt"
	"strings"

	"berth/runtime"
)

// ObtainCertificate asks the authority for a certificate; it returns at once, and the Secret's certificate becomes due when that ends. Orders under way
// are left alone.
type ObtainCertificate struct {
	Secret Key
	Hosts  []string
	Ways   []runtime.ChallengeWay
	// Ingresses are who wants it, and who is told.
	Ingresses []Key
}

func (ObtainCertificate) isAction() {}

func (a ObtainCertificate) String() string {
	return fmt.Sprintf("obtain a certificate for %s, for %s", strings.Join(a.Hosts, ", "), a.Secret)
}
