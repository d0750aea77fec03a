// Package filter is the pipeline: it reads an envelope and a message, decides what has to change so that the
// message survives the next hop, and hands it back.
//
//	stdin → spool → parse → authenticate → plan → rewrite → re-inject
//
// The plan is a pure function; everything that touches the world stands before or after it.
package filter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"postmend/dkim"
	"postmend/filter/arrival"
	"postmend/filter/authn"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/filter/message/author"
	"postmend/reinject"
	"postmend/srs/store"
)

// Filter is a configuration made ready for messages.
type Filter struct {
	config     *Config
	policy     policy
	outbound   outbound
	target     reinject.Target
	reinjector *reinject.Reinjector
	commit     reinject.Commit
	fromName   author.Name
	now        func() time.Time
	sealKeys   func() (arrival.Keys, error) // of the seals of arrival
	store      store.Store                  // of senders; nil without one
	keyring    *keyring                     // nil if keys are not kept
}

// Options are what a Filter takes from its surroundings rather than from the configuration. The zero value is
// right for Postfix.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Stdout is where the target "stdout:" writes to; nil means nowhere.
	Stdout io.Writer
	// Commit is called before the final hand-over; nil means that the message may leave, under the same
	// context.
	Commit reinject.Commit
	// Resident is set in a process that serves many messages: it keeps the parsed keys, and connections to
	// the next hop. Then Close ends them.
	Resident bool
}

// New makes a configuration ready. Keys and secrets that cannot be read are not an error yet: mail that does
// not need them passes.
func New(config *Config, options Options) (*Filter, error) {
	local, localErr := config.localDomains()
	force, forceErr := newDomainSet("dmarc: force_munge", config.DMARC.ForceMunge,
		config.DMARC.ForceMungeFile)
	forbid, forbidErr := newDomainSet("dmarc: forbid_munge", config.DMARC.ForbidMunge, "")
	out, outErr := parseOutbound(config.OutboundAddresses, config.Hostname)
	destinations, toErr := newDestinations(config.DMARC.Destinations)
	trustedAuthors, authorsErr := newTrustedAuthors(config.DMARC.TrustedAuthors)
	sealers, sealersErr := newDomainSet("arc: trusted_sealers", config.ARC.TrustedSealers, "")
	name, nameErr := author.ParseName(config.DMARC.FromName)
	only, onlyErr := newDomainSet("arc: only_for", config.ARC.OnlyFor, "")
	if err := errors.Join(localErr, forceErr, forbidErr, outErr, nameErr, toErr, authorsErr, sealersErr,
		onlyErr, checkRedirects(config.Spam, local)); err != nil {
		return nil, ConfigInvalid.Failure(err)
	}
	target, err := reinject.ParseTarget(config.Reinject.Target)
	if err != nil {
		return nil, ConfigInvalid.Failure(fmt.Errorf("reinject: %w", err))
	}
	reinjector, err := reinject.New(reinject.Options{
		Target:           config.Reinject.Target,
		User:             config.Reinject.User,
		Password:         config.Reinject.password(),
		RootCAs:          config.Reinject.rootCAs(),
		HELOName:         config.Hostname,
		ListenerHELOName: handOverName(config.Hostname),
		SpoolDir:         config.Limits.SpoolDir,
		Stdout:           options.Stdout,
		KeepIdle:         keepIdle(options.Resident),
	})
	if err != nil {
		return nil, ConfigInvalid.Failure(fmt.Errorf("reinject: %w", err))
	}
	f := &Filter{config: config, outbound: out, target: target, reinjector: reinjector,
		commit: options.Commit, fromName: name, now: options.Now}
	if f.now == nil {
		f.now = time.Now
	}
	if options.Resident {
		f.keyring = &keyring{}
	}
	f.policy = policy{
		hostname:       config.Hostname,
		heloNames:      out.heloNames(config.Hostname),
		local:          local,
		trusted:        config.TrustedNetworks,
		signers:        map[string]bool{},
		sealsArrival:   config.Arrival.Seals(),
		defaultSigner:  config.DKIM.DefaultDomain,
		dmarc:          config.DMARC,
		destinations:   destinations,
		trustedAuthors: trustedAuthors,
		trustedSealers: sealers,
		forceMunge:     force,
		forbidMunge:    forbid,
	}
	if config.ARC.Seal != SealNever {
		f.policy.sealer, f.policy.sparing = config.ARC.Domain, config.ARC.Seal == SealWhenNeeded
	}
	if config.ARC.OnlyFor != nil {
		f.policy.sealFor = only
	}
	for _, key := range config.DKIM.Keys {
		f.policy.signers[key.Domain] = true
	}
	f.useSecrets()
	return f, f.openStore()
}

// useSecrets prepares everything that uses the secrets of [srs].
func (f *Filter) useSecrets() {
	srs := f.config.SRS
	secrets, err := readSecrets(srs.SecretsFile)
	f.sealKeys = sync.OnceValues(func() (arrival.Keys, error) {
		if err != nil {
			return nil, err
		}
		return arrival.DeriveKeys(secrets)
	})
	if srs.Domain == "" {
		return
	}
	f.policy.srsDomain, f.policy.srsError = domain.Canonical(srs.Domain), err
	if err == nil {
		f.policy.srs, f.policy.srsError = newRewriter(f.config, secrets, f.now)
	}
}

// keepIdle is for how long a resident process keeps a connection to the next hop: what Postfix's own client
// does (smtp_connection_cache_time_limit).
func keepIdle(resident bool) time.Duration {
	if resident {
		return 2 * time.Second
	}
	return 0
}

// Close ends what a resident Filter keeps. Messages that are being dealt with are not affected.
func (f *Filter) Close() { f.reinjector.Close() }

// Run takes one message from stdin to its end: handed back, or a *Failure. The log line is complete in both
// cases.
func (f *Filter) Run(ctx context.Context, env *Envelope, stdin io.Reader) (*LogLine, error) {
	log := newLogLine(env)
	err := f.run(ctx, env, stdin, log)
	log.finish(err)
	return log, err
}

func (f *Filter) run(ctx context.Context, env *Envelope, stdin io.Reader, log *LogLine) error {
	j, err := f.examine(ctx, env, stdin)
	if err != nil {
		return err
	}
	defer j.message.Close()
	if short := shortfall(j.message, env.Size); short != "" {
		log.note(CutShort, short)
	}
	plan := j.keepSenders(ctx, j.decideAtOnce(ctx))
	log.planned(plan, j.known)
	if plan.Refusal != nil {
		return plan.Refusal
	}
	transactions, err := f.transactions(env, j.message, plan, j.known, log)
	if err != nil {
		return err
	}
	results, err := f.reinjector.Send(ctx, env.client(), f.commit, transactions)
	log.handedOver(results)
	if err != nil {
		return handOverFailure(err)
	}
	return nil
}

// Explain plans for a message and its envelope, and changes nothing.
func (f *Filter) Explain(ctx context.Context, env *Envelope, stdin io.Reader) (*Explanation, error) {
	j, err := f.examine(ctx, env, stdin)
	if err != nil {
		return nil, err
	}
	defer j.message.Close()
	plan := j.decideAtOnce(ctx)
	known := j.known
	e := &Explanation{Envelope: env, Authors: known.authors, Unread: known.oversized,
		Proven: known.proven.Results, Origin: known.origin.public(), Plan: plan}
	if plan.Refusal != nil {
		e.Refusal, e.Temporary = plan.Refusal.Error(), plan.Refusal.Temporary()
	}
	return e, nil
}

// Explanation is a plan with what it was made from.
type Explanation struct {
	Envelope *Envelope     `json:"envelope"`
	Authors  []string      `json:"from_domains"`
	Unread   bool          `json:"unread,omitempty"` // the header was too long to look for them
	Proven   authn.Results `json:"arrived"`
	Origin   Origin        `json:"origin"` // of mail of our own side
	Plan
	// Refusal says why there is no hand-over; Temporary, that the message would stay in the queue.
	Refusal   string `json:"refusal,omitempty"`
	Temporary bool   `json:"temporary,omitempty"`
}

// Verify gives the Authentication-Results field for a message and its envelope, and where the message came
// from by the seal of its arrival.
func (f *Filter) Verify(ctx context.Context, env *Envelope, stdin io.Reader) (string, Origin, error) {
	m, err := f.read(stdin, env.QueueID != "", f.hashesBody(false))
	if err != nil {
		return "", Origin{}, err
	}
	defer m.Close()
	if env, err = f.trace(&f.policy, env, m); err != nil {
		return "", Origin{}, err
	}
	proven, err := f.prove(ctx, authn.New(f.config.Resolver), env, m)
	return string(f.authenticationResults(proven.Results)), env.origin.public(), err
}

// authenticationResults is the field of RFC 8601.
func (f *Filter) authenticationResults(proven authn.Results) dkim.Field {
	return dkim.Field("Authentication-Results: " + authn.Format(f.config.Hostname, proven) + "\r\n")
}

// job is a message that was read and authenticated.
type job struct {
	filter   *Filter
	env      *Envelope // with the origin of mail of our own side
	message  *message.Message
	policy   *policy
	known    facts
	resolver *authn.Resolver // nil if the message needed no look-up: it reads resolv.conf(5)
}

// examine reads the message and authenticates it if that matters. Unless there is an error, the caller closes
// the message.
func (f *Filter) examine(ctx context.Context, env *Envelope, stdin io.Reader) (*job, error) {
	if err := env.check(); err != nil {
		return nil, err
	}
	policy, tableErr := f.policyFor(ctx, env)
	for _, r := range env.Recipients {
		f.findSenders(ctx, &policy, r.Address, cmp.Or(r.Original, r.Claimed))
	}
	policy.route(env)
	makesSeal := env.goes(toLocal) && !env.isOurs(policy.trusted)
	m, err := f.read(stdin, env.QueueID != "", f.hashesBody(makesSeal))
	if err != nil {
		return nil, err
	}
	readQueueID(env, m)
	env = f.readLogin(env, m)
	j := &job{filter: f, env: env, message: m, policy: &policy}
	if f.loops(env, m) {
		tableErr = f.loop(env)
	}
	if err = tableErr; err == nil {
		err = j.learn(ctx)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return j, nil
}

// learn finds out what the plan needs to know.
func (j *job) learn(ctx context.Context) (err error) {
	if j.env, err = j.filter.trace(j.policy, j.env, j.message); err != nil {
		return err
	}
	var proven proof
	if j.policy.needsProof(j.env, j.message) {
		j.resolver = authn.New(j.filter.config.Resolver)
		if proven, err = j.filter.prove(ctx, j.resolver, j.env, j.message); err != nil {
			return err
		}
	}
	if j.known, err = j.filter.facts(j.policy, j.env, j.message, proven); err != nil {
		return err
	}
	if j.policy.mayRewriteUnproved() && !j.known.authentic() && !j.env.isOurs(j.policy.trusted) {
		j.known.localAuthor = j.filter.isLocalAuthor(ctx, j.known.authors)
	}
	return nil
}

func (f *Filter) read(
	stdin io.Reader, fromPostfix bool, hashBody func(dkim.Header) bool,
) (*message.Message, error) {
	limits := f.config.Limits
	options := message.Options{Memory: int64(limits.MemorySpool), Dir: limits.SpoolDir, HashBody: hashBody}
	m, err := message.Read(stdin, options)
	if err != nil {
		return nil, err
	}
	if err := checkWhole(m, fromPostfix); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// checkWhole detects a message that is not as pipe(8) writes it, or that is cut short. pipe(8) always ends
// the last line, and writes in blocks, which end anywhere. A block can also end with a line: so the guard
// checks before the hand-over that our caller still runs.
func checkWhole(m *message.Message, fromPostfix bool) error {
	if m.Size() == 0 {
		return MessageEmpty.Failure(nil)
	}
	if !fromPostfix {
		return nil
	}
	last, err := m.LastOctet()
	switch {
	case err != nil:
		return err
	case last != '\n':
		return MessageCut.Failure(nil, m.Size())
	case m.HasFromLine():
		// Fields that we add would stand above this line, so that the header would become part of the body.
		return FromLine.Failure(nil)
	}
	return nil
}

// shortfall is a note for the log if the queue file has much more than came. It proves nothing: the size of
// the queue file includes what a milter has deleted, and the overhead of records, one octet more for each
// line.
func shortfall(m *message.Message, size int64) string {
	const slack = 1024
	if size <= 2*m.Size()+slack {
		return ""
	}
	return fmt.Sprintf("received %d octets, but the queue file has %d", m.Size(), size)
}

// client is what XFORWARD tells the listener of the client that brought the message.
func (e *Envelope) client() reinject.Client {
	return reinject.Client{
		Name:     e.ClientName,
		Address:  e.ClientAddress,
		Port:     e.ClientPort,
		Protocol: strings.ToUpper(e.ClientProtocol),
		HELO:     e.HELO,
		Ident:    e.QueueID,
	}
}
