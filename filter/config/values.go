package config

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postmend/filter/domain"
)

// Duration reads time.ParseDuration's form and whole days, "21d".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, found := strings.CutSuffix(s, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	} else if v, err := time.ParseDuration(s); err == nil && v > 0 {
		*d = Duration(v)
		return nil
	}
	return fmt.Errorf(`%q is not a duration such as "60s", "1h" or "21d"`, s)
}

// Size is a number of octets; it reads "65536", "64KiB", "1MiB", "1GiB".
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (z *Size) UnmarshalText(text []byte) error {
	s, shift := string(text), 0
	for i, unit := range [...]string{"KiB", "MiB", "GiB"} {
		if number, found := strings.CutSuffix(s, unit); found {
			s, shift = strings.TrimSpace(number), 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf(`%q is not a size such as "64KiB" or "1MiB"`, text)
	}
	*z = Size(n << shift)
	return nil
}

// SealMode is for which mail an ARC set is added.
type SealMode string

// The modes. In TOML, true is the first and false the last.
const (
	SealAlways SealMode = "always"
	// SealWhenNeeded leaves out mail that DMARC passes at the next hop anyway.
	SealWhenNeeded SealMode = "when-needed"
	SealNever      SealMode = "never"
)

// UnmarshalTOML implements toml.Unmarshaler.
func (s *SealMode) UnmarshalTOML(value any) error {
	switch value {
	case true, string(SealAlways):
		*s = SealAlways
	case false, string(SealNever):
		*s = SealNever
	case string(SealWhenNeeded):
		*s = SealWhenNeeded
	default:
		return fmt.Errorf(`arc: seal %q is not one of always, when-needed, never`, fmt.Sprint(value))
	}
	return nil
}

// MungeMode is when From: is rewritten.
type MungeMode string

// The modes.
const (
	// MungeWhenNeeded: DMARC passed on arrival, and it would not pass at the next hop.
	MungeWhenNeeded MungeMode = "when-needed"
	// MungeAlways: DMARC passed on arrival, or there is no DMARC record and nothing failed.
	MungeAlways MungeMode = "always"
	MungeNever  MungeMode = "never"
)

var mungeModes = []string{string(MungeWhenNeeded), string(MungeNever), string(MungeAlways)}

// readBounded reads a file of the operator's. A mistyped path may name a device or a large log: 4 MiB are
// enough.
func readBounded(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe in the file's place would block.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if info.Mode()&os.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("%s is a pipe, not a file", path)
	}
	const limit = 4 << 20
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("%s is larger than 4 MiB", path)
	}
	return text, err
}

// DomainSet makes a set of the entries and of those in a file, one a line.
func DomainSet(setting string, entries []string, file string) (domain.Set, error) {
	set := domain.Set{}
	for _, entry := range entries {
		if err := set.Add(entry); err != nil {
			return nil, fmt.Errorf("%s: %w", setting, err)
		}
	}
	if file == "" {
		return set, nil
	}
	text, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("%s_file: %w", setting, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		entry := strings.TrimSpace(lines.Text())
		if entry == "" || entry[0] == '#' {
			continue
		}
		if err := set.Add(entry); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n, err)
		}
	}
	return set, lines.Err()
}
