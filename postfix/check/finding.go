// Package check judges whether postmend and the Postfix around it are set up so that forwarded mail is mended
// and none is lost: our own files, Postfix's configuration, DNS.
//
// Run gathers what there is, and tables of rules judge it; the rules touch nothing. What a rule finds comes
// with the reason why it matters, and with what mends it: a command for the shell, an edit of postmend's
// configuration, or a record to publish.
package check

import (
	"cmp"
	"slices"
	"strings"

	"postmend/postfix"
	"postmend/postfix/postconf"
)

// Severity says how bad a finding is. Warnings and errors are wrong; notes are for reading.
type Severity string

const (
	OK      Severity = "ok"
	Note    Severity = "note"
	Warning Severity = "warning" // something will go wrong for some mail, or could not be found out
	// mail is held, refused, sent in circles or lost, or anybody may read a secret
	Error Severity = "error"
)

// Finding is one thing that was looked at.
type Finding struct {
	Area     string   `json:"area"`
	Name     string   `json:"name"` // of the rule, for programs: it does not change
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why,omitempty"`
	Mend     string   `json:"mend,omitempty"`    // a command for the shell
	Edit     *Edit    `json:"edit,omitempty"`    // what mends it in postmend's configuration, after Mend
	Publish  string   `json:"publish,omitempty"` // lines of a zone file, which mend it where no command can
	Detail   bool     `json:"detail,omitempty"`  // of use to a few only
	// Reload is the command that has a running Postfix read what Mend changes; "" if none is needed.
	Reload string `json:"reload,omitempty"`

	cause, about string // see fault
}

// fault is what a rule found. A command with octets that a terminal should not see is left out of the
// finding.
type fault struct {
	What     string
	Mend     string
	Edit     *Edit
	Publish  string
	Why      string   // "" means the rule's
	Severity Severity // "" means the rule's

	// Faults with the same cause become one finding: the first one's text, and what the others are about.
	cause, about string
}

// unjudged is what a rule gives where there is nothing to judge, or where another rule says what is wrong:
// neither a fault, nor that something is right.
var unjudged = []fault{{Severity: "unjudged"}}

// rule is a row of a table: Judge gives the faults in facts of type F, and where it gives none, OK says what
// is right.
type rule[F any] struct {
	Name     string
	Severity Severity
	OK       string // may be empty: then nothing is said
	Why      string
	Judge    func(F) []fault
}

// apply gives what the rules find.
func apply[F any](area string, rules []rule[F], facts F) []Finding {
	var findings []Finding
	for _, rule := range rules {
		faults := rule.Judge(facts)
		if len(faults) == 0 && rule.OK != "" {
			findings = append(findings, Finding{Area: area, Name: rule.Name, Severity: OK, What: rule.OK})
		}
		for _, wrong := range faults {
			if wrong.Severity == unjudged[0].Severity {
				continue
			}
			findings = append(findings, Finding{
				Area:     area,
				Name:     rule.Name,
				Severity: cmp.Or(wrong.Severity, rule.Severity),
				What:     postfix.Printable(wrong.What),
				Why:      postfix.Printable(cmp.Or(wrong.Why, rule.Why)),
				Mend:     onlyPrintable(wrong.Mend),
				Edit:     wrong.Edit,
				Publish:  onlyPrintable(wrong.Publish),
				cause:    wrong.cause,
				about:    postfix.Printable(wrong.about),
			})
		}
	}
	return findings
}

// joinCauses makes one finding of those that have one cause.
func joinCauses(findings []Finding) []Finding {
	var joined []Finding
	others := map[int][]string{} // what else is the same, by the index of the first
	for _, f := range findings {
		first := slices.IndexFunc(joined, func(g Finding) bool {
			return f.cause != "" && g.cause == f.cause && g.Severity == f.Severity && g.Edit == nil &&
				f.Edit == nil
		})
		if first < 0 {
			joined = append(joined, f)
			continue
		}
		g := &joined[first]
		if f.about != g.about && !slices.Contains(others[first], f.about) {
			others[first] = append(others[first], f.about)
		}
		g.Mend, g.Publish = withoutRepeats(g.Mend, f.Mend, " && "), withoutRepeats(g.Publish, f.Publish, "\n")
	}
	for i, abouts := range others {
		joined[i].What += "; the same for " + postfix.ShortList(abouts, mostNamed)
	}
	return joined
}

// withoutRepeats appends the parts of a text that are not there yet.
func withoutRepeats(text, more, separator string) string {
	if text == "" || more == "" {
		return text + more
	}
	parts := strings.Split(text, separator)
	for part := range strings.SplitSeq(more, separator) {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, separator)
}

// mostNamed is how many names stand in a finding.
const mostNamed = 10

// onlyPrintable drops what cannot be shown as it is: a command that was changed would do something else.
func onlyPrintable(s string) string {
	if postfix.Printable(s) != s {
		return ""
	}
	return s
}

// one is the only fault of a rule.
func one(what, mend string) []fault { return []fault{{What: what, Mend: mend}} }

// shell writes words so that a POSIX shell reads them back.
func shell(words ...string) string { return postconf.Command(words).String() }
