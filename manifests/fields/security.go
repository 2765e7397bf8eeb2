package fields

// security is what a pod and its containers may do.
func security() []Row {
	const (
		noSELinux  = "SELinux labels cannot be enforced"
		noAppArmor = "AppArmor profiles cannot be enforced"
		noWindows  = "it is for Windows, and this machine runs Linux"
	)
	return join(
		of("core/v1.PodSecurityContext",
			honoured("TestFields/pod runAsUser", "runAsUser"),
			honoured("TestFields/pod runAsGroup", "runAsGroup"),
			honoured("TestFields/pod runAsNonRoot", "runAsNonRoot"),
			honoured("TestFields/pod seccompProfile", "seccompProfile"),
			shown("fsGroup supplementalGroups sysctls"),
			honoured("TestDeclaredStorage", "fsGroupChangePolicy"),
			refused("groups of the image's /etc/group are always added", "supplementalGroupsPolicy"),
			honoured("TestSecurityContext", "supplementalGroupsPolicy=Merge"),
			refused(noSELinux, "seLinuxOptions"),
			notEnforced(noSELinux, "seLinuxChangePolicy"),
			refused(noAppArmor, "appArmorProfile"),
			notEnforced(noWindows, "windowsOptions"),
		),
		of("core/v1.SecurityContext",
			shown("runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation privileged procMount seccompProfile"),
			honoured("TestSecurityContext", "capabilities"),
			refused(noSELinux, "seLinuxOptions"),
			refused(noAppArmor, "appArmorProfile"),
			notEnforced(noWindows, "windowsOptions"),
		),
		of("core/v1.Capabilities", honoured("TestFields/capabilities.add", "add"), honoured("TestFields/capabilities.drop", "drop")),
		of("core/v1.SeccompProfile",
			honoured("TestFields/seccompProfile", "type"),
			shown("localhostProfile"),
		),
		of("core/v1.Sysctl", honoured("TestFields/sysctls", "name value")),
	)
}
