package check

import (
	"fmt"
	"reflect"
	"strings"

	"postmend/filter/config"
)

// Edit is a change of postmend's configuration. It is made by hand: no command finds the right place
// in a file that a person wrote.
type Edit struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // where the key is now, from 1 on; 0 if it is not there
	Key   string `json:"key"`            // with its section: "reinject.target"
	Value string `json:"value"`          // as TOML
	Add   bool   `json:"add,omitempty"`  // to the list that is there
}

// String says it for a person.
func (e Edit) String() string {
	section, key := cutLast(e.Key)
	switch {
	case e.Line > 0 && e.Add:
		return fmt.Sprintf("in %s, line %d: add %s to %s", e.File, e.Line, e.Value, key)
	case e.Line > 0:
		return fmt.Sprintf("in %s, line %d: %s = %s", e.File, e.Line, key, e.Value)
	case section != "":
		return fmt.Sprintf("in %s, section [%s]: add the line %s = %s", e.File, section, key, e.Value)
	}
	return fmt.Sprintf("in %s, above the first section: add the line %s = %s", e.File, key, e.Value)
}

// setKey is the change that gives a key of the configuration a text for its value.
func (p *postmend) setKey(key, value string) *Edit {
	return &Edit{File: p.ConfigFile, Line: config.LineOfKey([]byte(p.Text), key), Key: key,
		Value: fmt.Sprintf("%q", value)}
}

// addTo is the change that adds texts to a list of the configuration, or makes the list.
func (p *postmend) addTo(key string, words ...string) *Edit {
	edit := p.setKey(key, "")
	edit.Value = strings.Trim(fmt.Sprintf("%q", words), "[]")
	edit.Value = strings.ReplaceAll(edit.Value, `" "`, `", "`)
	if edit.Add = edit.Line > 0; !edit.Add {
		edit.Value = "[" + edit.Value + "]"
	}
	return edit
}

// meantKey is the key that was meant by one that is not defined: the only one of its section at a distance of
// at most two letters; "" if there is none.
func meantKey(key string) string {
	section, wrong := cutLast(key)
	meant := ""
	for _, known := range knownKeys(section) {
		if editDistance(wrong, known) > 2 {
			continue
		}
		if meant != "" {
			return ""
		}
		meant = known
	}
	return meant
}

// cutLast cuts "dmarc.munge_from" before the last part.
func cutLast(key string) (section, last string) {
	at := strings.LastIndexByte(key, '.')
	return key[:max(at, 0)], key[at+1:]
}

// knownKeys are the keys of a section of the configuration; "" is the top level.
func knownKeys(section string) []string {
	at := reflect.TypeFor[config.Config]()
	for name := range strings.SplitSeq(section, ".") {
		for i := 0; name != "" && i < at.NumField(); i++ {
			if field := at.Field(i); field.Tag.Get("toml") == name {
				at = field.Type
				break
			}
		}
		if at.Kind() == reflect.Slice {
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct {
			return nil
		}
	}
	var keys []string
	for i := range at.NumField() {
		if key := at.Field(i).Tag.Get("toml"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// editDistance is Levenshtein's: how many letters have to be inserted, removed or replaced.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
