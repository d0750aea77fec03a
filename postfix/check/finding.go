// Package check judges whether a Postfix is set up so that postmend works behind it and no mail is lost.
//
// Gather reads what there is, Postfix judges it: a table of rules over facts, which touches nothing. What a rule finds comes with the
// reason why it matters and with the command that mends it, ready for the shell. Keys and DNS are the caller's; Apply takes
// its rules too.
package check

import (
	"cmp"

	"postmend/postfix"
	"postmend/postfix/postconf"
)

// Severity says how bad a finding is. Warnings and errors are wrong; notes are for reading.
type Severity string

const (
	OK      Severity = "ok"
	Note    Severity = "note"
	Warning Severity = "warning" // something will go wrong for some mail, or could not be found out
	Error   Severity = "error"   // mail is held, refused, sent in circles or lost, or anybody may read a secret
)

// Finding is one thing that was looked at.
type Finding struct {
	Area     string   `json:"area"`
	Name     string   `json:"name"` // of the rule, for programs: it does not change
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why,omitempty"`
	Mend     string   `json:"mend,omitempty"`    // a command for the shell
	Publish  string   `json:"publish,omitempty"` // a line of a zone file, which mends it where no command can
}

// Fault is what a rule found. A command with octets that a terminal should not see is left out of the finding.
type Fault struct {
	What     string
	Mend     string
	Publish  string
	Why      string   // "" means the rule's
	Severity Severity // "" means the rule's
}

// Rule is a row of a table: Judge gives the faults in facts of type F, and where it gives none, OK says what is right.
type Rule[F any] struct {
	Name     string
	Severity Severity
	OK       string // may be empty: then nothing is said
	Why      string
	Judge    func(F) []Fault
}

// Apply gives what the rules find.
func Apply[F any](area string, rules []Rule[F], facts F) []Finding {
	var findings []Finding
	for _, rule := range rules {
		faults := rule.Judge(facts)
		if len(faults) == 0 && rule.OK != "" {
			findings = append(findings, Finding{Area: area, Name: rule.Name, Severity: OK, What: rule.OK})
		}
		for _, fault := range faults {
			findings = append(findings, Finding{
				Area:     area,
				Name:     rule.Name,
				Severity: cmp.Or(fault.Severity, rule.Severity),
				What:     postfix.Printable(fault.What),
				Why:      cmp.Or(fault.Why, rule.Why),
				Mend:     onlyPrintable(fault.Mend),
				Publish:  onlyPrintable(fault.Publish),
			})
		}
	}
	return findings
}

// onlyPrintable drops what cannot be shown as it is: a command that was changed would do something else.
func onlyPrintable(s string) string {
	if postfix.Printable(s) != s {
		return ""
	}
	return s
}

// one is the only fault of a rule.
func one(what, mend string) []Fault { return []Fault{{What: what, Mend: mend}} }

// Shell writes words so that a POSIX shell reads them back.
func Shell(words ...string) string { return postconf.Command(words).String() }
