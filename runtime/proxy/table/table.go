// Package table is what the proxy goes by: one file that it reads, and the word by which it is told to read it again.
//
// The file is replaced whole by a rename, so a reader finds the old table or the new one. While nobody writes, the last one holds.
package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"berth/runtime"
)

// Table is the whole of it.
type Table struct {
	runtime.Traffic
	DNS DNS
}

// DNS is where and how names are answered.
type DNS struct {
	// Address is the machine's address on the pods' bridge; the zero value for no DNS.
	Address netip.Addr
	// ClusterIP is the address that pods ask instead; it leads to Address.
	ClusterIP netip.Addr
	// Domain is the cluster's: "cluster.local".
	Domain string
	// PodCIDR and ServiceCIDR are the ranges that reverse names are known for.
	PodCIDR, ServiceCIDR netip.Prefix
	// PodCIDR6 and ServiceCIDR6 are those of IPv6; the zero value where there is none.
	PodCIDR6, ServiceCIDR6 netip.Prefix
}

// fileName is the table's file in the run directory.
const fileName = "traffic"

// Write puts a table in the place of the one that is there. The file holds keys of certificates: only root reads it.
func Write(runDir string, t *Table) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("cannot encode the traffic table: %w", err)
	}
	path := filepath.Join(runDir, fileName)
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("cannot write the traffic table: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("cannot write the traffic table: %w", err)
	}
	return nil
}

// Read reads the table; an empty one when there is none.
func Read(runDir string) (*Table, error) {
	data, err := os.ReadFile(filepath.Join(runDir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return &Table{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the traffic table: %w", err)
	}
	t := &Table{}
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("cannot read the traffic table: %w", err)
	}
	return t, nil
}

// Remove forgets the table and the proxy's socket.
func Remove(runDir string) error {
	for _, name := range []string{fileName, socketName} {
		if err := os.Remove(filepath.Join(runDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the traffic table: %w", err)
		}
	}
	return nil
}
