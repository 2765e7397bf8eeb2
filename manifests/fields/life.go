package fields

// life is how a container is started, watched and ended.
func life() []Row {
	return join(
		of("core/v1.Probe",
			alive("exec httpGet tcpSocket grpc initialDelaySeconds periodSeconds timeoutSeconds successThreshold failureThreshold"),
			alive("terminationGracePeriodSeconds"),
		),
		of("core/v1.ExecAction", honoured("TestLifeFields/exec", "command")),
		of("core/v1.HTTPGetAction",
			honoured("TestLifeFields/httpGet.path", "path"), honoured("TestLifeFields/httpGet.port", "port"),
			honoured("TestLifeFields/httpGet.host", "host"), honoured("TestLifeFields/httpGet.scheme", "scheme"),
			honoured("TestLifeFields/httpGet.httpHeaders", "httpHeaders"),
		),
		of("core/v1.HTTPHeader", honoured("TestLifeFields/httpGet.httpHeaders", "name value")),
		of("core/v1.TCPSocketAction", honoured("TestLifeFields/tcpSocket", "port"), honoured("TestLifeFields/tcpSocket.host", "host")),
		of("core/v1.GRPCAction", honoured("TestLifeFields/grpc", "port"), honoured("TestLifeFields/grpc.service", "service")),
		of("core/v1.Lifecycle", alive("postStart"), honoured("TestLifecycleHooks", "preStop"), honoured("TestLifeFields/stopSignal", "stopSignal")),
		of("core/v1.LifecycleHandler",
			honoured("TestLifeFields/postStart", "exec"), honoured("TestLifeFields/postStart.httpGet", "httpGet"), honoured("TestLifecycleHooks", "sleep"),
			refused("the hook fails, as it does in Kubernetes", "tcpSocket"),
		),
		of("core/v1.SleepAction", honoured("TestLifecycleHooks", "seconds")),
	)
}

// alive fields are honoured, and each has the case of its own name in the test TestLifeFields.
func alive(names string) []Row {
	rows := honoured("", names)
	for i, r := range rows {
		rows[i].Test = "TestLifeFields/" + r.Field
	}
	return rows
}
