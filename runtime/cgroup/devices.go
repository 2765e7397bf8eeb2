package cgroup

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"berth/runtime/internal/sys"
)

// allowedDevices are the character devices a container that is not privileged may open and make; minor -1 is any. They are the nodes of a
// container's /dev and its terminals. Whiteouts of overlayfs (0:0) pass the kernel without being asked.
func allowedDevices() [8][2]int32 {
	return [8][2]int32{
		{1, 3},    // null
		{1, 5},    // zero
		{1, 7},    // full
		{1, 8},    // random
		{1, 9},    // urandom
		{5, 0},    // tty
		{5, 2},    // ptmx
		{136, -1}, // pts/*
	}
}

// ensureRestricted makes the one group of the v1 devices hierarchy in which every container lives that is not privileged.
func (t *Tree) ensureRestricted() error {
	mount := t.h.v1["devices"]
	if mount == "" {
		return nil
	}
	dir := filepath.Join(mount, t.rootName(), "restricted")
	if err := mkdir(dir); err != nil {
		return err
	}
	if err := write(dir, "devices.deny", "a"); err != nil {
		t.warn(fmt.Sprintf("device rules cannot be set (%v): containers can open every device for which they have a node", err))
		return nil
	}
	for _, d := range allowedDevices() {
		minor := "*"
		if d[1] >= 0 {
			minor = fmt.Sprint(d[1])
		}
		if err := write(dir, "devices.allow", fmt.Sprintf("c %d:%s rwm", d[0], minor)); err != nil {
			return err
		}
	}
	return nil
}

// restrictDevices puts the device program into force on a container's v2 group, when there is no devices hierarchy to do it.
func (t *Tree) restrictDevices(dir string) error {
	if t.h.v2 == "" || t.h.v1["devices"] != "" {
		return nil
	}
	program, err := t.deviceProgram()
	if err != nil {
		t.warn(fmt.Sprintf("device rules cannot be set (%v): containers can open every device for which they have a node", err))
		return nil
	}
	group, err := sys.OpenDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = group.Close() }()
	return attachDeviceProgram(group, program)
}

func attachDeviceProgram(group, program *sys.FD) error {
	if err := sys.AttachDeviceProgram(group, program); err != nil {
		return fmt.Errorf("cannot attach the device program: %w", err)
	}
	return nil
}

func loadDeviceProgram() (*sys.FD, error) { return sys.LoadDeviceProgram(deviceInstructions()) }

// eBPF operation codes, as in linux/bpf.h.
const (
	opLoadWord = 0x61 // dst = *(u32 *)(src + off)
	opAnd      = 0x57 // dst &= imm
	opNotEqual = 0x55 // if dst != imm goto +off
	opEqual    = 0x15 // if dst == imm goto +off
	opMove     = 0xb7 // dst = imm
	opExit     = 0x95

	deviceChar = 2 // BPF_DEVCG_DEV_CHAR, in the low half of the context's first word
)

// deviceInstructions is the program: register 1 is the context {access<<16|type, major, minor}; the result 1 allows.
func deviceInstructions() []byte {
	var p []byte
	add := func(op, dst, src byte, off int16, imm int32) {
		p = append(p, op, src<<4|dst)
		p = binary.NativeEndian.AppendUint16(p, uint16(off))
		p = binary.NativeEndian.AppendUint32(p, uint32(imm))
	}
	add(opLoadWord, 2, 1, 0, 0)
	add(opLoadWord, 3, 1, 4, 0)
	add(opLoadWord, 4, 1, 8, 0)
	add(opAnd, 2, 0, 0, 0xffff)
	add(opEqual, 2, 0, 2, deviceChar)
	add(opMove, 0, 0, 0, 0)
	add(opExit, 0, 0, 0, 0)
	for _, d := range allowedDevices() {
		skip := int16(3)
		if d[1] < 0 {
			skip = 2
		}
		add(opNotEqual, 3, 0, skip, d[0])
		if d[1] >= 0 {
			add(opNotEqual, 4, 0, 2, d[1])
		}
		add(opMove, 0, 0, 0, 1)
		add(opExit, 0, 0, 0, 0)
	}
	add(opMove, 0, 0, 0, 0)
	add(opExit, 0, 0, 0, 0)
	return p
}
