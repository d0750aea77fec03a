package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"postmend/postfix/postconf"
)

// proof asks Postfix before and after the change what becomes of a few addresses, and tells whether it
// answers as it should.
type proof struct {
	plan      *Plan
	questions []question
	server    string // host:port; "" if no smtpd(8) could be asked
	helo      string
	before    []Reply
	isAtRest  bool // Postfix did not run before the change
	// missing tells why Postfix was not asked by SMTP; "" if it was.
	missing string
}

// question is about one recipient of a bounce that a client brings.
type question struct {
	what, address string
	srs           bool   // the change is to make a difference
	original      string // of an SRS address that is to be accepted; "" for a forged one
}

// srsAddresses are an SRS address of ours, whom it stands for, and a forged one.
type srsAddresses struct{ Valid, Original, Forged string }

// newProof asks Postfix as it is. Without an SRS domain, the addresses are empty.
func (p *Plan) newProof(ctx context.Context, domains *Domains, srs srsAddresses) *proof {
	made := &proof{plan: p}
	made.helo, _ = p.config.Expand("myhostname")
	for _, address := range p.localAddresses(domains) {
		made.questions = append(made.questions, question{what: "a local address", address: address})
	}
	if alias := p.anAlias(ctx, domains); alias != "" {
		made.questions = append(made.questions, question{what: "a virtual alias", address: alias})
	}
	if srs.Valid != "" {
		made.questions = append(made.questions,
			question{what: "a valid SRS address", address: srs.Valid, srs: true, original: srs.Original},
			question{what: "a forged SRS address", address: srs.Forged, srs: true})
	}
	made.chooseServer(ctx)
	return made
}

// localAddresses are addresses that commonly exist.
func (p *Plan) localAddresses(domains *Domains) []string {
	const most = 3
	var addresses []string
	for _, domain := range slices.Concat(domains.Signable(), domains.Names) {
		address := "postmaster@" + domain
		isOther := domain[0] != '.' && domain != p.wanted.SRSDomain
		if isOther && len(addresses) < most && !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// anAlias is an address among the keys of virtual_alias_maps; "" if no table tells one.
func (p *Plan) anAlias(ctx context.Context, domains *Domains) string {
	list, err := p.config.Expand("virtual_alias_maps")
	if err != nil {
		return ""
	}
	for _, table := range postconf.List(list) {
		keys, err := p.config.Keys(ctx, strings.TrimPrefix(table, "proxy:"))
		if err != nil {
			continue
		}
		for _, key := range keys {
			user, domain, _ := strings.Cut(strings.ToLower(key), "@")
			if isName(user) && isName(domain) && domains.Class(domain) != "" {
				return key
			}
		}
	}
	return ""
}

// chooseServer takes the first smtpd(8) that accepts a local address, or else the first that answers about
// recipients at all.
func (p *proof) chooseServer(ctx context.Context) {
	if p.isAtRest = !p.plan.config.IsRunning(); p.isAtRest {
		p.missing = "Postfix does not run"
		return
	}
	for _, server := range p.plan.servers() {
		replies, err := ask(ctx, server, p.helo, p.addresses())
		if err == nil && p.refusesUs(replies) {
			err = fmt.Errorf("%s refuses this host: %s", server, replies[0])
		}
		if err != nil {
			p.missing = cmp.Or(p.missing, err.Error())
			continue
		}
		accepts := slices.ContainsFunc(replies, func(r Reply) bool { return r.class() == 2 })
		if p.server == "" || accepts {
			p.server, p.before = server, replies
		}
		if accepts {
			break
		}
	}
	if p.server != "" {
		p.missing = ""
	} else {
		p.missing = cmp.Or(p.missing, "no smtpd(8) of master.cf can be asked from here")
	}
}

// refusesUs tells whether a server refuses all local addresses by policy (X.7.X, RFC 3463 section 3.8), as a
// submission port does without a login. What it says of other addresses is then about us, not about them.
func (p *proof) refusesUs(replies []Reply) bool {
	isLocal := false
	for i, reply := range replies {
		if p.questions[i].srs {
			continue
		}
		if !reply.isPolicy() {
			return false
		}
		isLocal = true
	}
	return isLocal
}

func (p *proof) addresses() []string {
	var addresses []string
	for _, q := range p.questions {
		addresses = append(addresses, q.address)
	}
	return addresses
}

// servers are where smtpd(8) and postscreen(8) take mail from others, port 25 first.
func (p *Plan) servers() []string {
	expanded, err := p.config.Expanded()
	if err != nil {
		return nil
	}
	const most = 3
	var servers []string
	for _, s := range expanded.Services() {
		port := s.Port()
		if port == "" || s.Name == p.wanted.Listener || s.Options["smtpd_tls_wrappermode"] == "yes" {
			continue
		}
		if s.Program == "smtpd" || s.Program == "postscreen" {
			host := interfaceOf(expanded)
			if i := strings.LastIndexByte(s.Name, ':'); i >= 0 {
				host = strings.Trim(s.Name[:i], "[]")
			}
			servers = append(servers, net.JoinHostPort(host, port))
		}
	}
	slices.SortStableFunc(servers, func(a, b string) int {
		return boolInt(strings.HasSuffix(b, ":25")) - boolInt(strings.HasSuffix(a, ":25"))
	})
	return servers[:min(most, len(servers))]
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// interfaceOf is an address of this host at which Postfix listens.
func interfaceOf(expanded *postconf.Config) string {
	loopback := "127.0.0.1"
	if expanded.Get("inet_protocols") == "ipv6" {
		loopback = "::1"
	}
	for _, name := range postconf.List(expanded.Get("inet_interfaces")) {
		if name == "all" || name == "loopback-only" || name == "localhost" ||
			strings.Trim(name, "[]") == loopback {
			return loopback
		}
	}
	for _, name := range postconf.List(expanded.Get("inet_interfaces")) {
		return strings.Trim(name, "[]")
	}
	return loopback
}

// confirm asks again, and gives an error if Postfix does not answer as it should. A process that has not seen
// the reload yet may answer first, so a wrong answer is asked for again; one that does not come within
// replyPatience is not.
func (p *proof) confirm(ctx context.Context) error {
	const patience = 15 * time.Second
	until := time.Now().Add(patience)
	for {
		err := p.once(ctx)
		if err == nil || time.Now().After(until) || errors.Is(err, errHangs) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

var errHangs = errors.New("no answer from Postfix")

func (p *proof) once(ctx context.Context) error {
	if !p.plan.config.IsRunning() {
		if p.isAtRest {
			return nil
		}
		return errors.New("the mail system has stopped running")
	}
	if err := p.lookUp(ctx); err != nil || p.server == "" {
		return err
	}
	after, err := ask(ctx, p.server, p.helo, p.addresses())
	if err != nil {
		return err
	}
	greylists := slices.ContainsFunc(after, func(r Reply) bool { return r.class() == 4 && !r.isTrouble() })
	for i, reply := range after {
		q := p.questions[i]
		was := "no reply"
		isRight := false
		switch {
		case q.srs:
			isRight = q.answeredRightly(reply, greylists)
		case i < len(p.before):
			isRight = reply.class() == 2 || !reply.isTrouble() && reply.class() == p.before[i].class()
			isRight = isRight || p.before[i].isTrouble()
		default:
			isRight = true
		}
		if isRight {
			continue
		}
		if i < len(p.before) {
			was = p.before[i].String()
		}
		err := fmt.Errorf("smtpd at %s was asked for %s, %s, and answered: %s; before the change: %s",
			p.server, q.what, q.address, reply, was)
		if reply.Err != nil {
			err = fmt.Errorf("%w: %w", errHangs, err)
		}
		return err
	}
	return nil
}

// answeredRightly judges the reply for an SRS address. Where recipients are greylisted, or refused with a
// temporary code (unknown_local_recipient_reject_code, soft_bounce), the tables tell the rest.
func (q question) answeredRightly(reply Reply, greylists bool) bool {
	switch {
	case reply.isTrouble():
		return false
	case q.original != "":
		return reply.class() == 2 || reply.class() == 4 && greylists
	}
	return reply.class() == 5 || reply.class() == 4
}

// lookUp asks the table of SRS addresses as smtpd(8) and cleanup(8) do.
func (p *proof) lookUp(ctx context.Context) error {
	table := p.plan.reverseTable
	if table == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, replyPatience)
	defer cancel()
	for _, q := range p.questions {
		value, _, err := p.plan.config.Lookup(ctx, table, q.address)
		switch {
		case err != nil:
			return fmt.Errorf("the table of SRS addresses failed for %s: %w", q.what, err)
		case value != q.original:
			return fmt.Errorf("the table of SRS addresses answers %q for %s, %s", value, q.what, q.address)
		}
	}
	return nil
}

// String tells what was asked, and where.
func (p *proof) String() string {
	if p.missing != "" {
		return "Postfix was not tested by SMTP: " + p.missing
	}
	var kinds []string
	for _, q := range p.questions {
		if !slices.Contains(kinds, q.what) {
			kinds = append(kinds, q.what)
		}
	}
	return "Postfix at " + p.server + " answers correctly for: " + strings.Join(kinds, ", ")
}
