package postconf

import "strings"

// List splits a value of Postfix's at commas and blanks, but not within braces.
func List(value string) []string {
	depth := 0
	return strings.FieldsFunc(value, func(r rune) bool {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
		case ',', ' ', '\t', '\r', '\n':
			return depth <= 0
		}
		return false
	})
}
