package fields

// life is how a container is started, watched and ended.
func life() []Row {
	return join(
		of("core/v1.Probe",
			honoured("TestExec", "exec"), honoured("TestHTTP", "httpGet"), honoured("TestTCP", "tcpSocket"), honoured("TestGRPC", "grpc"),
			honoured("TestProber", "initialDelaySeconds periodSeconds timeoutSeconds successThreshold failureThreshold"),
			honoured("TestHooksAndProbes", "terminationGracePeriodSeconds"),
		),
		of("core/v1.ExecAction", honoured("TestExec", "command")),
		of("core/v1.HTTPGetAction", honoured("TestHTTP", "path port host scheme httpHeaders")),
		of("core/v1.HTTPHeader", honoured("TestHTTP", "name value")),
		of("core/v1.TCPSocketAction", honoured("TestTCP", "port host")),
		of("core/v1.GRPCAction", honoured("TestGRPC", "port service")),
		of("core/v1.Lifecycle", honoured("TestHooks", "postStart preStop"), honoured("TestPlan", "stopSignal")),
		of("core/v1.LifecycleHandler",
			honoured("TestHook", "exec httpGet sleep"),
			refused("the hook fails, as it does in Kubernetes", "tcpSocket"),
		),
		of("core/v1.SleepAction", honoured("TestSleepHook", "seconds")),
	)
}
