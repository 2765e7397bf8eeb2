// Package e2e drives the built binary as a user does, on the real kernel and against a real registry: files and command line only.
package e2e

import (
	"os"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/isolate"
)

func TestMain(m *testing.M) {
	os.Exit(isolate.Tests(harness.Build, m.Run, isolate.Order{
		First: []string{"TestKilledAtAnyMoment", "TestAutoscaler", "TestKilledWithinACall", "TestFields", "TestJobsAndTime", "TestLifeFields", "TestCrashingRolloutGoesBack"},
		Alone: []string{"TestZeroLoss", "TestZeroLossOnAHostPort", "TestIngressLosesNothing", "TestKilledUnderLoad"},
	}))
}
