package main

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"postmend/filter"
)

// unknownKey finds in an error of filter.LoadConfig the key that nobody knows, and its line, which is 0 where the error does not tell.
func unknownKey(err error) (key string, line int) {
	found := regexp.MustCompile(`(?:line (\d+): )?unknown key ("(?:[^"\\]|\\.)*")`).FindStringSubmatch(err.Error())
	if found == nil {
		return "", 0
	}
	line, _ = strconv.Atoi(found[1])
	key, _ = strconv.Unquote(found[2])
	return key, line
}

// renaming gives the last parts of a key that nobody knows and of the one that was meant, if that one is plain: there is a nearest one, it
// stands in the same section, and with it in this line the configuration can be decoded.
func renaming(text, key string, line int) (wrong, right string, ok bool) {
	lines := strings.SplitAfter(text, "\n")
	if line < 1 || line > len(lines) {
		return "", "", false
	}
	section, wrong := cutLast(key)
	right = nearest(wrong, knownKeys(section))
	if right == "" || !bareKey.MatchString(wrong) {
		return "", "", false
	}
	lines[line-1] = strings.Replace(lines[line-1], wrong, right, 1)
	meta, err := toml.Decode(strings.Join(lines, ""), &filter.Config{})
	isStill := func(k toml.Key) bool { return k.String() == key }
	return wrong, right, err == nil && !slices.ContainsFunc(meta.Undecoded(), isStill)
}

// bareKey is TOML's word for a key without quotes. It means itself to sed, too.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// cutLast cuts "dmarc.munge_from" before the last part.
func cutLast(key string) (section, last string) {
	at := strings.LastIndexByte(key, '.')
	return key[:max(at, 0)], key[at+1:]
}

// knownKeys are the keys of a section of the configuration; "" is the top level.
func knownKeys(section string) []string {
	at := reflect.TypeFor[filter.Config]()
	for section != "" {
		name, rest, _ := strings.Cut(section, ".")
		field, found := fieldOf(at, name)
		if !found {
			return nil
		}
		at, section = field.Type, rest
		if at.Kind() == reflect.Slice {
			at = at.Elem()
		}
	}
	if at.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range at.NumField() {
		keys = append(keys, at.Field(i).Tag.Get("toml"))
	}
	return keys
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	if t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	return t.FieldByNameFunc(func(name string) bool {
		field, _ := t.FieldByName(name)
		return field.Tag.Get("toml") == key
	})
}

// nearest gives the word that was meant: the only one that is nearest, and not farther away than typing errors lead.
func nearest(word string, words []string) string {
	best, least := "", min(3, len(word)/2+1)
	for _, candidate := range words {
		switch distance := editDistance(word, candidate); {
		case distance < least:
			best, least = candidate, distance
		case distance == least:
			best = ""
		}
	}
	return best
}

// editDistance is Levenshtein's: how many letters have to be put in, taken out or replaced.
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
