package keyring

import (
	"os"
	"strconv"
	"strings"
)

// A Ring is a keyring as /proc/keys shows it.
type Ring struct {
	ID   ID
	Name string
	Keys int // that it holds
}

// Rings returns the keyrings that the process may see, in no order.
func Rings() ([]Ring, error) {
	var rings []Ring
	err := possessing(func() error {
		var err error
		rings, err = readRings()
		return err
	})
	return rings, err
}

func readRings() ([]Ring, error) {
	list, err := os.ReadFile("/proc/keys")
	if err != nil {
		return nil, err
	}
	return ParseRings(string(list)), nil
}

// ParseRings returns the live keyrings in the text of /proc/keys:
//
//	id flags usage timeout permissions uid gid type description
//
// The description of a keyring ends with how many keys it holds. Kernel:
// proc_keys_show(), keyring_describe().
func ParseRings(list string) []Ring {
	var rings []Ring
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[7] != "keyring" || strings.ContainsAny(fields[1], "RDi") {
			continue
		}
		_, description, _ := strings.Cut(line, " keyring ")
		end := strings.LastIndex(description, ": ")
		id, err := strconv.ParseInt(fields[0], 16, 32)
		if end < 0 || err != nil {
			continue
		}
		r := Ring{ID: ID(id), Name: strings.TrimLeft(description[:end], " ")}
		if count := strings.TrimSpace(description[end+1:]); count != "empty" {
			if r.Keys, err = strconv.Atoi(count); err != nil || r.Keys < 0 {
				continue
			}
		}
		rings = append(rings, r)
	}
	return rings
}
