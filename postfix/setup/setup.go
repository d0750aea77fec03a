// Package setup changes a Postfix configuration so that mail passes postmend, and changes it back. What has
// to be done is a pure function of what was read and what is wanted; the steps carry it out through
// postconf(1), and can be printed as shell commands instead. postmend's own files are the caller's business.
package setup

import (
	"fmt"
	"slices"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// Wanted is what Postfix is to be told.
type Wanted struct {
	Mode       Mode
	User       string // the account that runs postmend
	Program    string // absolute path of postmend
	ConfigFile string // absolute path of postmend's configuration; "" is the default one
	Listener   string // host:port, where postmend hands mail back
	SRSDomain  string // "" sets up no table
	Hostname   string // for myhostname, where that is not a full name; "" leaves it
	Milter     string // Spawned, or the address of a resident one; "" leaves Postfix's milters alone
	// LMTP is where postmend takes mail: inet:127.0.0.1:10025 of postmend serve, or layout.SpawnedLMTP; "" is
	// pipe(8).
	LMTP string
}

// The tables of SRS addresses in Postfix's configuration directory.
const (
	srsFile        = "postmend-srs.regexp"
	postmasterFile = "postmend-postmaster.regexp"
)

// Change is one parameter of main.cf or one service of master.cf, as it was and as it is to be; nil is "not
// there".
type Change struct {
	Service bool    `json:"service,omitempty"`
	Name    string  `json:"name"`
	Was     *string `json:"was"`
	Now     *string `json:"now"`
	Why     string  `json:"-"`

	ours bool // it removes what setup made: undo does not bring it back
}

// Plan is what has to be changed.
type Plan struct {
	Files   []File // in Postfix's configuration directory
	Changes []Change
	// Notes tell what was left out, and what is left to the operator.
	Notes []string
	// Details are notes that few have a use for.
	Details []string

	config       *postconf.Config
	wanted       Wanted
	reverseTable string // our table for SRS addresses in virtual_alias_maps; "" if there is none
}

// NewPlan compares a configuration with what is wanted. An error tells why this cannot be set up without a
// decision of the operator's.
func NewPlan(c *postconf.Config, domains *Domains, w Wanted) (*Plan, error) {
	if err := w.check(c); err != nil {
		return nil, err
	}
	if !c.Version.AtLeast(3, 0) {
		return nil, fmt.Errorf("this is Postfix %s; postmend needs 3.0 or later, whose "+
			"pipe_delivery_status_filter keeps faults from bouncing mail", c.Version)
	}
	p := &Plan{config: c, wanted: w}
	if err := p.obstacle(); err != nil {
		return nil, err
	}
	p.addHostname()
	p.addServices()
	p.addSRS(domains)
	p.addMilter()
	p.addSwitch(domains)
	return p, nil
}

// check keeps out of main.cf and master.cf whatever has a meaning there.
func (w Wanted) check(c *postconf.Config) error {
	for _, word := range []struct{ name, value string }{
		{"the program's path", w.Program}, {"the configuration's path", w.ConfigFile}, {"the user", w.User},
		{"the listener", w.Listener}, {"the SRS domain", w.SRSDomain},
		{"the milter's address", w.Milter}, {"the LMTP address", w.LMTP},
	} {
		const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:[]+@"
		if strings.Trim(word.value, plain) != "" {
			return fmt.Errorf("%s, %q, has characters that do not go into master.cf; choose another",
				word.name, word.value)
		}
	}
	if !layout.IsProgram(w.Program) {
		return fmt.Errorf("the program is called %s; setup and check know postmend's services by its name: "+
			"call it postmend, and start it by that name", w.Program)
	}
	if w.LMTP != "" {
		if _, _, err := parseLMTP(c, w.LMTP); err != nil {
			return fmt.Errorf("--lmtp: %w", err)
		}
	}
	return nil
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// set plans for a parameter.
func (p *Plan) set(name, value, why string) {
	change := Change{Name: name, Now: &value, Why: why}
	if p.config.IsSet(name) {
		was := p.config.Get(name)
		change.Was = &was
	}
	if change.Was == nil || *change.Was != value {
		p.Changes = append(p.Changes, change)
	}
}

// unset plans for a parameter to go.
func (p *Plan) unset(name, why string) {
	if p.config.IsSet(name) {
		was := p.config.Get(name)
		p.Changes = append(p.Changes, Change{Name: name, Was: &was, Why: why})
	}
}

// setService plans for a service. Its line is compared word by word.
func (p *Plan) setService(id, line, why string) {
	change := Change{Service: true, Name: id, Now: &line, Why: why}
	if service, found := p.config.Service(id); found {
		change.Was = &service.Line
	}
	if change.Was == nil || !sameWords(*change.Was, line) {
		p.Changes = append(p.Changes, change)
	}
}

func sameWords(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }
