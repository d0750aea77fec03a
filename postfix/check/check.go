package check

import (
	"cmp"
	"context"
	"slices"
	"sync"
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
	LogDir     string // where the mail log is; "" is /var/log
}

// Run gathers all facts and judges them. It changes nothing.
func Run(ctx context.Context, options Options) []Finding {
	o := gatherOwn(options.Program, options.ConfigFile)
	if options.PostfixDir != "" {
		o.postfixFlag = []string{"--postfix-dir", options.PostfixDir}
		o.postconfFlag = []string{"-c", options.PostfixDir}
	}
	host, hostErr := gather(ctx, options.PostfixDir, o.postmend)
	if hostErr == nil {
		o.learn(ctx, host, options.PostfixDir)
	}
	if c := o.config; c != nil && c.SRS.Domain != "" && c.SRS.Store == "" {
		o.unfit = countUnfit(cmp.Or(options.LogDir, "/var/log"), time.Now(), unfitLog)
	}
	var published []Finding
	if !options.NoDNS && o.config != nil {
		deadline, cancel := context.WithTimeout(ctx, time.Duration(o.config.Limits.DNSDeadline))
		defer cancel()
		var asking sync.WaitGroup
		asking.Go(func() { o.askNewRecords(deadline) })
		published = gatherDNS(deadline, o, host).judge()
		asking.Wait()
	}
	own := append(joinCauses(o.judge()), o.restraints()...)
	if hostErr != nil {
		unreadable := Finding{Area: "Postfix", Name: "postfix-unreadable", Severity: Error,
			What: postfix.Printable(hostErr.Error()),
			Why:  "Postfix's configuration cannot be judged; is it installed, and are you root?"}
		return slices.Concat(own, []Finding{unreadable}, joinCauses(published))
	}
	host.dns = dnsStage(published)
	findings := append(own, joinCauses(judgePostfix(host))...)
	if host.canTry(findings) {
		findings = append(findings, apply("trial", trialRules, host)...)
	}
	findings = append(findings, joinCauses(published)...)
	if host.isPrepared() {
		findings = append(findings, host.nextStep(findings))
	} else {
		findings = append(findings, apply(areaNext, runningRules, host)...)
	}
	host.keepLinks(findings)
	host.addReload(findings)
	return byArea(findings)
}

// byArea puts the findings of an area together, in the order in which the areas come first.
func byArea(findings []Finding) []Finding {
	rank := map[string]int{}
	for _, f := range findings {
		if _, known := rank[f.Area]; !known {
			rank[f.Area] = len(rank)
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return rank[a.Area] - rank[b.Area] })
	return findings
}

// restraints are what a run of the filter on this kernel, with this configuration, denies itself: they need
// nothing from the operator.
func (o *own) restraints() []Finding {
	var needs *confine.Needs
	if c := o.config; c != nil {
		if found, ok := confine.NeedsOf(c, defaultSpoolDir); ok {
			needs = &found
		}
	}
	var findings []Finding
	for _, active := range confine.Active(needs) {
		findings = append(findings, Finding{Area: areaOwn, Name: "restraint", Severity: OK, Detail: true,
			What: active})
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

// judgePostfix judges a Postfix. If it was given the configuration of another instance, that is the only
// finding.
func judgePostfix(h *host) []Finding {
	if !h.config.IsDefault() && judgeInstances(h) != nil {
		return apply("Postfix", instanceRules, h)
	}
	base := baseRules
	if h.SpoolDir != "" {
		base = slices.Concat(baseRules, configRules)
	}
	if h.isPrepared() {
		return apply("Postfix", slices.Concat(base, aliasRules), h)
	}
	findings := apply("Postfix", slices.Concat(instanceRules, routeRules, aliasRules, base), h)
	if h.filter != nil {
		rules := filterRules
		if h.byLMTP() {
			rules = lmtpRules
		}
		findings = append(findings, apply(areaFilter, rules, h)...)
		findings = append(findings,
			apply("Postfix", slices.Concat(arrivalRules, milterRules, spamRules), h)...)
	}
	if h.listener != nil {
		findings = append(findings, apply("listener", listenerRules, h)...)
	}
	if h.SRSDomain != "" {
		findings = append(findings, apply("bounces", srsRules, h)...)
	}
	return findings
}
