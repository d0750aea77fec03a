// Package publicsuffix tells under which names domains are registered, by the public suffix list
// (https://publicsuffix.org/list/).
//
// The rules are those of golang.org/x/net/publicsuffix, in the version that go.mod names; a test compares
// the two. That package itself is not used because it imports net/http, whose initialisation every message
// would pay for: the program starts once for each.
package publicsuffix

import (
	_ "embed"
	"strings"
)

// rules holds a rule a line, sorted by octets, as the list writes them: "co.uk", "*.ck", "!www.ck";
// internationalised names as A-labels.
//
//go:generate go run generate.go
//go:embed rules.txt
var rules string

// maxLabels is the number of labels of the longest rule.
const maxLabels = 7

// PublicSuffix gives the public suffix of a domain, which is in lower case, of A-labels, and has no final
// dot. Where no rule is about it, that is the last label, and listed is false.
func PublicSuffix(domain string) (suffix string, listed bool) {
	start := len(domain)
	for range maxLabels {
		if start = strings.LastIndexByte(domain[:start], '.'); start < 0 {
			break
		}
	}
	// The rule with the most labels prevails, and an exception over the wildcard beside it.
	for candidate := domain[start+1:]; ; {
		_, above, found := strings.Cut(candidate, ".")
		switch {
		case hasRule("!", candidate):
			return above, true
		case hasRule("", candidate), found && hasRule("*.", above):
			return candidate, true
		case !found:
			return candidate, false
		}
		candidate = above
	}
}

// Registered gives the domain that was registered: the public suffix and one label more. It is false for a
// public suffix itself, and for what has empty labels.
func Registered(domain string) (string, bool) {
	if domain == "" || domain[0] == '.' || strings.HasSuffix(domain, ".") || strings.Contains(domain, "..") {
		return "", false
	}
	suffix, _ := PublicSuffix(domain)
	if suffix == domain {
		return "", false
	}
	above := domain[:len(domain)-len(suffix)-1]
	return domain[strings.LastIndexByte(above, '.')+1:], true
}

// hasRule looks for the line prefix+name.
func hasRule(prefix, name string) bool {
	low, high := 0, len(rules) // starts of lines
	for low < high {
		start := strings.LastIndexByte(rules[:low+(high-low)/2], '\n') + 1
		line, _, _ := strings.Cut(rules[start:], "\n")
		switch order := compare(line, prefix, name); {
		case order == 0:
			return true
		case order < 0:
			low = start + len(line) + 1
		default:
			high = start
		}
	}
	return false
}

// compare is strings.Compare(line, prefix+name).
func compare(line, prefix, name string) int {
	if !strings.HasPrefix(line, prefix) {
		return strings.Compare(line, prefix)
	}
	return strings.Compare(line[len(prefix):], name)
}
