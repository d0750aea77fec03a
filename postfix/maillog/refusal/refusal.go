// Package refusal tells why a receiver refused a message, from what it answered. The rules are data, in
// rules.toml, and an operator can put rules of his own before them. It judges texts only: it does not know
// whether a receiver's reason is true.
package refusal

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"postmend/postfix"
)

//go:embed rules.toml
var builtin string

// maxClasses bounds what a rules file can add: counters are kept for each class.
const maxClasses = 64

// Class is a kind of reason.
type Class struct {
	Name   string `toml:"name"`
	Title  string `toml:"title"`
	Advice string `toml:"advice"`
	// Authentication is set for what SPF, DKIM and DMARC are about.
	Authentication bool `toml:"authentication"`
}

// Rule says which class an answer belongs to.
type Rule struct {
	Class string `toml:"class"`
	// Receiver is a domain: the rule is for answers of hosts in it only. "" means all, and so does an
	// answer without a host.
	Receiver string   `toml:"receiver"`
	Patterns []string `toml:"patterns"`
	Advice   string   `toml:"advice"` // in place of the class's; may be ""

	class int
	globs []glob
}

// Rules classify answers.
type Rules struct {
	Classes []Class
	rules   []Rule
	index   map[string]int
}

// Classes that are not given by rules.
const (
	Other = "other" // what no rule knows
	Own   = "own"   // what postmend itself refuses or defers
)

// file is the form of a rules file.
type file struct {
	Classes []Class `toml:"class"`
	Rules   []Rule  `toml:"rule"`
}

// New gives the built-in rules, with those of the text extra, if it is not empty, before them.
func New(extra string) (*Rules, error) {
	r := &Rules{index: map[string]int{}}
	own, err := parse(extra)
	if err != nil {
		return nil, err
	}
	known, err := parse(builtin)
	if err != nil {
		return nil, fmt.Errorf("built-in rules: %w", err)
	}
	for _, class := range append(known.Classes, own.Classes...) {
		if err := r.addClass(class); err != nil {
			return nil, err
		}
	}
	for n, rule := range append(own.Rules, known.Rules...) {
		if err := r.addRule(rule); err != nil {
			return nil, fmt.Errorf("rule number %d: %w", n+1, err)
		}
	}
	return r, nil
}

func parse(text string) (file, error) {
	var f file
	meta, err := toml.Decode(text, &f)
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		return f, fmt.Errorf("line %d: %s", syntax.Position.Line, syntax.Message)
	}
	if unknown := meta.Undecoded(); err == nil && len(unknown) > 0 {
		return f, fmt.Errorf("unknown key %q; a [[rule]] has class, patterns, receiver and advice, "+
			"a [[class]] has name, title, advice and authentication", unknown[0].String())
	}
	return f, err
}

func (r *Rules) addClass(class Class) error {
	switch {
	case class.Name == "" || strings.Trim(class.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("class %q: its name is to be of a-z, 0-9 and -", class.Name)
	case len(r.Classes) == maxClasses:
		return fmt.Errorf("class %q: there are %d classes already", class.Name, maxClasses)
	}
	class.Title = postfix.PrintableUTF8(cmp.Or(class.Title, class.Name))
	class.Advice = postfix.PrintableUTF8(class.Advice)
	if n, known := r.index[class.Name]; known {
		r.Classes[n] = class
		return nil
	}
	r.index[class.Name] = len(r.Classes)
	r.Classes = append(r.Classes, class)
	return nil
}

func (r *Rules) addRule(rule Rule) error {
	class, known := r.index[rule.Class]
	if !known {
		return fmt.Errorf("unknown class %q; declare it by [[class]]", rule.Class)
	}
	if len(rule.Patterns) == 0 {
		return errors.New("it has no patterns")
	}
	rule.class = class
	rule.Advice = postfix.PrintableUTF8(rule.Advice)
	rule.Receiver = strings.ToLower(rule.Receiver)
	for _, pattern := range rule.Patterns {
		g := newGlob(pattern)
		if len(g) == 0 {
			return fmt.Errorf("pattern %q would fit everything", pattern)
		}
		rule.globs = append(rule.globs, g)
	}
	r.rules = append(r.rules, rule)
	return nil
}

// Verdict is what the rules say of an answer.
type Verdict struct {
	Class  int    // index into Classes
	Advice string // of the rule, or else of the class
}

// Classify judges what host answered. An unknown host is "".
func (r *Rules) Classify(answer, host string) Verdict {
	text := Normalise(answer)
	host = strings.ToLower(host)
	for n := range r.rules {
		rule := &r.rules[n]
		if host != "" && !rule.isFor(host) {
			continue
		}
		for _, g := range rule.globs {
			if g.fits(text) {
				return r.verdict(rule.class, rule.Advice)
			}
		}
	}
	return r.verdict(r.index[Other], "")
}

// isFor tells whether the rule is for answers of that host.
func (r *Rule) isFor(host string) bool {
	return r.Receiver == "" || host == r.Receiver || strings.HasSuffix(host, "."+r.Receiver)
}

// ByName gives the verdict for a class that is known without a look at the answer.
func (r *Rules) ByName(class string) Verdict { return r.verdict(r.index[class], "") }

func (r *Rules) verdict(class int, advice string) Verdict {
	if advice == "" {
		advice = r.Classes[class].Advice
	}
	return Verdict{Class: class, Advice: advice}
}

// glob is a pattern taken apart at its stars: what has to stand in a text, in this order.
type glob []string

func newGlob(pattern string) glob {
	var g glob
	for part := range strings.SplitSeq(strings.ToLower(pattern), "*") {
		if part = squeeze(part); strings.TrimSpace(part) != "" {
			g = append(g, part)
		}
	}
	return g
}

func (g glob) fits(text string) bool {
	for _, part := range g {
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return true
}
