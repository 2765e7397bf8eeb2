package e2e

import "testing"

// configCases are the fields by which pods are configured. All use the ConfigMap "conf" and the Secret "key" of TestConfigFields; nobody has
// made "none".
func configCases() map[string]fieldCase {
	const (
		show  = `echo "$A"`
		mount = "volumeMounts: [{name: v, mountPath: /v}]"
		none  = "volumes: [{name: v, emptyDir: {}}]"
		first = "cat /v/a 2>/dev/null || echo nothing"
		modes = "stat -Lc %a /v/a"
	)
	from := func(source string) string { return "env: [{name: A, valueFrom: {" + source + "}}]" }
	volume := func(source string) string { return "volumes: [{name: v, " + source + "}]" }
	projected := func(source string) string { return volume("projected: {sources: [{" + source + "}]}") }
	labels := "fieldRef: {fieldPath: metadata.name}"
	// present compares a pod that can do without something with one that cannot.
	present := func(main, instead string) fieldCase {
		return fieldCase{see: state, script: "sleep 1000", main: main, instead: instead, with: "Running Running", without: "Pending CreateContainerConfigError*"}
	}
	mounted := func(pod, instead string) fieldCase {
		return fieldCase{see: state, script: "sleep 1000", bothMain: mount, pod: pod, podInstead: instead, with: "Running Running", without: "Pending ContainerCreating MountVolume.SetUp failed*"}
	}
	file := func(script, pod, instead, with, without string) fieldCase {
		return fieldCase{script: script, bothMain: mount, pod: pod, podInstead: instead, with: with, without: without}
	}
	return map[string]fieldCase{
		"configMapKeyRef":          {script: show, main: from("configMapKeyRef: {name: conf, key: a}"), with: "one", without: ""},
		"configMapKeyRef.key":      {script: show, main: from("configMapKeyRef: {name: conf, key: b}"), instead: from("configMapKeyRef: {name: conf, key: a}"), with: "two", without: "one"},
		"configMapKeyRef.optional": present(from("configMapKeyRef: {name: none, key: a, optional: true}"), from("configMapKeyRef: {name: none, key: a}")),
		"secretKeyRef":             {script: show, main: from("secretKeyRef: {name: key, key: a}"), with: "secret one", without: ""},
		"secretKeyRef.optional":    present(from("secretKeyRef: {name: key, key: none, optional: true}"), from("secretKeyRef: {name: key, key: none}")),
		"configMapRef":             {script: `echo "$a"`, main: "envFrom: [{configMapRef: {name: conf}}]", with: "one", without: ""},
		"configMapRef.optional":    present("envFrom: [{configMapRef: {name: none, optional: true}}]", "envFrom: [{configMapRef: {name: none}}]"),
		"secretRef":                {script: `echo "$a"`, main: "envFrom: [{secretRef: {name: key}}]", with: "secret one", without: ""},
		"secretRef.optional":       present("envFrom: [{secretRef: {name: none, optional: true}}]", "envFrom: [{secretRef: {name: none}}]"),
		"fileKeyRef": {
			script: show, bothPod: none, init: "{name: first, " + shell("echo \"X='from a file'\" > /v/env") + ", " + mount + "}",
			main: from("fileKeyRef: {volumeName: v, path: env, key: X}"), with: "from a file", without: "",
		},
		"fileKeyRef.optional": {
			see: state, script: "sleep 1000", bothPod: none, with: "Running Running", without: "Pending CreateContainerConfigError*",
			main: from("fileKeyRef: {volumeName: v, path: env, key: X, optional: true}"), instead: from("fileKeyRef: {volumeName: v, path: env, key: X}"),
		},
		"prefix": {script: `echo "$P_a"`, main: "envFrom: [{prefix: P_, configMapRef: {name: conf}}]", instead: "envFrom: [{configMapRef: {name: conf}}]", with: "one", without: ""},

		"configMap":             file(first, volume("configMap: {name: conf}"), none, "one", "nothing"),
		"binaryData":            file("od -An -tx1 /v/bytes | tr -d ' '", volume("configMap: {name: conf}"), volume("configMap: {name: conf, items: [{key: a, path: bytes}]}"), "fffe", "6f6e65"),
		"configMap.items":       file("ls /v", volume("configMap: {name: conf, items: [{key: b, path: x/y}]}"), volume("configMap: {name: conf}"), "x", "a\nb\nbytes"),
		"configMap.items.mode":  file(modes, volume("configMap: {name: conf, items: [{key: a, path: a, mode: 0400}]}"), volume("configMap: {name: conf, items: [{key: a, path: a}]}"), "400", "644"),
		"configMap.defaultMode": file(modes, volume("configMap: {name: conf, defaultMode: 0440}"), volume("configMap: {name: conf}"), "440", "644"),
		"configMap.optional":    mounted(volume("configMap: {name: none, optional: true}"), volume("configMap: {name: none}")),
		"secret":                file(first, volume("secret: {secretName: key}"), none, "secret one", "nothing"),
		"stringData":            file("cat /v/s", volume("secret: {secretName: key, items: [{key: s, path: s}]}"), volume("secret: {secretName: key, items: [{key: a, path: s}]}"), "text", "secret one"),
		"secret.items":          file("ls /v", volume("secret: {secretName: key, items: [{key: a, path: x}]}"), volume("secret: {secretName: key}"), "x", "a\ns"),
		"secret.defaultMode":    file(modes, volume("secret: {secretName: key, defaultMode: 0440}"), volume("secret: {secretName: key}"), "440", "644"),
		"secret.optional":       mounted(volume("secret: {secretName: none, optional: true}"), volume("secret: {secretName: none}")),

		"downwardAPI":                  file(first, volume("downwardAPI: {items: [{path: a, "+labels+"}]}"), none, "with-downwardapi", "nothing"),
		"downwardAPI.path":             file("ls /v", volume("downwardAPI: {items: [{path: x/y, "+labels+"}]}"), volume("downwardAPI: {items: [{path: z, "+labels+"}]}"), "x", "z"),
		"downwardAPI.mode":             file(modes, volume("downwardAPI: {items: [{path: a, mode: 0400, "+labels+"}]}"), volume("downwardAPI: {items: [{path: a, "+labels+"}]}"), "400", "644"),
		"downwardAPI.defaultMode":      file(modes, volume("downwardAPI: {defaultMode: 0440, items: [{path: a, "+labels+"}]}"), volume("downwardAPI: {items: [{path: a, "+labels+"}]}"), "440", "644"),
		"downwardAPI.resourceFieldRef": file(first, volume("downwardAPI: {items: [{path: a, resourceFieldRef: {containerName: main, resource: requests.cpu, divisor: 1m}}]}"), none, "0", "nothing"),

		"projected.configMap":          file(first, projected("configMap: {name: conf}"), none, "one", "nothing"),
		"projected.configMap.items":    file("ls /v", projected("configMap: {name: conf, items: [{key: b, path: x}]}"), projected("configMap: {name: conf}"), "x", "a\nb\nbytes"),
		"projected.configMap.optional": mounted(projected("configMap: {name: none, optional: true}"), projected("configMap: {name: none}")),
		"projected.secret":             file(first, projected("secret: {name: key}"), none, "secret one", "nothing"),
		"projected.secret.items":       file("ls /v", projected("secret: {name: key, items: [{key: a, path: x}]}"), projected("secret: {name: key}"), "x", "a\ns"),
		"projected.secret.optional":    mounted(projected("secret: {name: none, optional: true}"), projected("secret: {name: none}")),
		"projected.downwardAPI":        file(first, projected("downwardAPI: {items: [{path: a, "+labels+"}]}"), none, "with-projected-downwardapi", "nothing"),
		"projected.defaultMode":        file(modes, volume("projected: {defaultMode: 0440, sources: [{secret: {name: key}}]}"), projected("secret: {name: key}"), "440", "644"),
	}
}

// TestConfigFields is TestFields for configuration: a pod with each field and one without it.
func TestConfigFields(t *testing.T) {
	showFields(t, configCases(), object("ConfigMap", "conf", `data: {a: one, b: two}`+"\nbinaryData: {bytes: //4=}")+"---\n"+
		object("Secret", "key", "data: {a: c2VjcmV0IG9uZQ==}\nstringData: {s: text}"))
}
