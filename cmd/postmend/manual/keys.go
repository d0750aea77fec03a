// Package manual makes the man pages of the tree of commands and of docs/configuration.md, so that help, man
// pages and documentation cannot differ.
package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// Key is a row of a table of keys in docs/configuration.md.
type Key struct {
	Name    string // with its section: "srs.max_age", "dkim.keys.file"
	Default string // the cell: a TOML value in backticks, or words
	Meaning string
	Line    int
}

// Literal is the documented default as TOML; "" if the cell has words.
func (k Key) Literal() string {
	if value, found := strings.CutPrefix(k.Default, "`"); found {
		value, _, _ = strings.Cut(value, "`")
		return value
	}
	return ""
}

// sectionName finds `[srs]` or `[[dkim.keys]]` in a heading.
var sectionName = regexp.MustCompile("`\\[{1,2}([a-z_.]+)\\]{1,2}`")

// Keys reads the tables whose first column is "key". A heading that names a section in brackets and backticks
// begins it; the keys before the first one have no section.
func Keys(markdown string) ([]Key, error) {
	var keys []Key
	section, inTable, number := "", false, 0
	for line := range strings.Lines(markdown) {
		number++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			if found := sectionName.FindStringSubmatch(line); found != nil {
				section = found[1] + "."
			}
		}
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		cells := tableCells(line)
		switch {
		case cells[0] == "key":
			inTable = true
		case !inTable || strings.HasPrefix(cells[0], "---"):
		case len(cells) != 3:
			return nil, fmt.Errorf("line %d: %d columns; a row has key, default and meaning",
				number, len(cells))
		default:
			for name := range strings.SplitSeq(cells[0], ",") {
				name = strings.Trim(strings.TrimSpace(name), "`")
				keys = append(keys, Key{section + name, cells[1], cells[2], number})
			}
		}
	}
	return keys, nil
}

// tableCells splits a row. A bar within backticks or behind a backslash belongs to the cell.
func tableCells(row string) []string {
	var cells []string
	var cell strings.Builder
	code := false
	row = strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|")
	for i := 0; i < len(row); i++ {
		switch c := row[i]; {
		case c == '\\' && i+1 < len(row) && row[i+1] == '|':
			cell.WriteByte('|')
			i++
		case c == '|' && !code:
			cells = append(cells, strings.TrimSpace(cell.String()))
			cell.Reset()
		default:
			code = code != (c == '`')
			cell.WriteByte(c)
		}
	}
	return append(cells, strings.TrimSpace(cell.String()))
}
