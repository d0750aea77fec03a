package check

import (
	"context"
	"time"

	"postmend/filter/confine"
	"postmend/postfix"
)

// Options say what is checked.
type Options struct {
	Program    string // the path of postmend: it can stand in for one that is missing
	ConfigFile string // postmend's configuration, absolute
	PostfixDir string // Postfix's configuration directory; "" is Postfix's own
	NoDNS      bool   // DNS is not asked
}

// Run gathers all facts and judges them. It changes nothing.
func Run(ctx context.Context, options Options) []Finding {
	o := gatherOwn(options.Program, options.ConfigFile)
	if options.PostfixDir != "" {
		o.postfixFlag = []string{"--postfix-dir", options.PostfixDir}
	}
	host, hostErr := gather(ctx, options.PostfixDir, o.Postmend)
	if hostErr == nil {
		o.learn(host)
	}
	findings := append(o.judge(), o.restraints()...)
	if hostErr != nil {
		findings = append(findings, Finding{Area: "Postfix", Name: "postfix-unreadable", Severity: Error,
			What: postfix.Printable(hostErr.Error()), Why: "Postfix's configuration cannot be judged; is it installed, and are you root?"})
	} else {
		findings = append(findings, judgePostfix(host)...)
	}
	if options.NoDNS || o.config == nil {
		return findings
	}
	deadline, cancel := context.WithTimeout(ctx, time.Duration(o.config.Limits.DNSDeadline))
	defer cancel()
	return append(findings, gatherDNS(deadline, o, host).judge()...)
}

// restraints are what a run of the filter on this kernel, with this configuration, denies itself: they need nothing from the operator.
func (o *own) restraints() []Finding {
	var needs *confine.Needs
	if c := o.config; c != nil {
		if found, ok := c.Needs(DefaultSpoolDir); ok {
			needs = &found
		}
	}
	var findings []Finding
	for _, active := range confine.Active(needs) {
		findings = append(findings, Finding{Area: areaOwn, Name: "restraint", Severity: OK, Detail: true, What: active})
	}
	return findings
}

// IsRight tells whether there is nothing worse than a note.
func IsRight(findings []Finding) bool {
	for _, f := range findings {
		if f.Severity == Warning || f.Severity == Error {
			return false
		}
	}
	return true
}
