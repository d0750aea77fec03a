package config

import (
	"bytes"
	"fmt"
	"strings"
)

// UnknownKeyError says that the configuration has a key that is not defined.
type UnknownKeyError struct {
	Key  string // with its section: "srs.domian"
	Line int    // from 1 on; 0 if it could not be found
}

func (e *UnknownKeyError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("unknown key %q", e.Key)
	}
	return fmt.Sprintf("line %d: unknown key %q", e.Line, e.Key)
}

// LineOfKey finds the line, from 1 on, that a key such as "srs.domain" or a section such as "srs" was written
// in: the toml package tells it for errors only. It is 0 for a key that is not there, or written as only a
// full parser could follow.
func LineOfKey(text []byte, key string) int {
	table := ""
	for n, line := 1, 0; line < len(text); n++ {
		end := bytes.IndexByte(text[line:], '\n')
		if end < 0 {
			end = len(text) - line
		}
		words := strings.TrimSpace(string(text[line : line+end]))
		line += end + 1
		if strings.HasPrefix(words, "[") {
			table, _, _ = strings.Cut(strings.Trim(words, "["), "]")
			table = strings.Trim(table, " \t") + "."
			if table == key+"." {
				return n
			}
			continue
		}
		name, _, assigned := strings.Cut(words, "=")
		if assigned && table+strings.Trim(name, " \t\"'") == key {
			return n
		}
	}
	return 0
}
