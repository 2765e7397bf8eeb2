package fields

// security is what a pod and its containers may do.
func security() []Row {
	const (
		noSELinux  = "SELinux labels cannot be enforced"
		noAppArmor = "AppArmor profiles cannot be enforced"
		noWindows  = "this machine runs linux"
	)
	return join(
		of("core/v1.PodSecurityContext",
			honoured("TestSecurityContext", "runAsGroup fsGroup supplementalGroups"),
			honoured("TestSecurityMerges", "runAsUser runAsNonRoot seccompProfile"),
			honoured("TestSandbox", "sysctls"),
			notEnforced("the group of a volume's files is set at every start of the pod", "fsGroupChangePolicy"),
			honoured("TestSecurityContext", "fsGroupChangePolicy=Always"),
			refused("groups of the image's /etc/group are always added", "supplementalGroupsPolicy"),
			honoured("TestSecurityContext", "supplementalGroupsPolicy=Merge"),
			refused(noSELinux, "seLinuxOptions"),
			notEnforced(noSELinux, "seLinuxChangePolicy"),
			refused(noAppArmor, "appArmorProfile"),
			refused(noWindows, "windowsOptions"),
		),
		of("core/v1.SecurityContext",
			honoured("TestSecurityContext", "runAsUser readOnlyRootFilesystem allowPrivilegeEscalation capabilities privileged seccompProfile"),
			honoured("TestSecurityMerges", "runAsGroup runAsNonRoot procMount"),
			refused(noSELinux, "seLinuxOptions"),
			refused(noAppArmor, "appArmorProfile"),
			refused(noWindows, "windowsOptions"),
		),
		of("core/v1.Capabilities", honoured("TestSecurityContext", "add drop")),
		of("core/v1.SeccompProfile",
			honoured("TestSecurityContext", "type"),
			honoured("TestLocalhostProfiles", "localhostProfile"),
		),
		of("core/v1.Sysctl", honoured("TestSandbox", "name value")),
	)
}
