// Package filter is the pipeline: it reads a message, finds out what the plan has to know, carries the plan
// out, and hands the message back.
//
//	stdin → spool → parse → authenticate → plan → rewrite → re-inject
//
// Everything that touches the world stands here, before or after package plan.
package filter

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"postmend/filter/arrival"
	"postmend/filter/config"
	"postmend/filter/confine"
	"postmend/filter/domain"
	"postmend/filter/message/author"
	"postmend/filter/plan"
	"postmend/reinject"
	"postmend/srs"
	"postmend/srs/store"
)

// Filter is a configuration made ready for messages.
type Filter struct {
	config     *config.Config
	policy     plan.Policy
	outbound   config.Outbound
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
func New(settings *config.Config, options Options) (*Filter, error) {
	f := &Filter{config: settings, commit: options.Commit, now: options.Now}
	if f.now == nil {
		f.now = time.Now
	}
	if options.Resident {
		f.keyring = &keyring{}
	}
	var err, nameErr, policyErr error
	f.outbound, err = settings.Outbound()
	f.fromName, nameErr = author.ParseName(settings.DMARC.FromName)
	f.policy, policyErr = plan.NewPolicy(settings, f.outbound.HELONames())
	if err = cmp.Or(err, nameErr, policyErr); err == nil {
		err = f.openTarget(options)
	}
	if err == nil {
		f.useSecrets()
		err = f.openStore()
	}
	if err != nil {
		return nil, settings.Invalid(err)
	}
	return f, nil
}

// openTarget prepares the hand-over.
func (f *Filter) openTarget(options Options) (err error) {
	settings := f.config
	if f.target, err = reinject.ParseTarget(settings.Reinject.Target); err == nil {
		f.reinjector, err = reinject.New(reinject.Options{
			Target:           settings.Reinject.Target,
			User:             settings.Reinject.User,
			Password:         settings.Reinject.Password(),
			RootCAs:          settings.Reinject.RootCAs(),
			HELOName:         settings.Hostname,
			ListenerHELOName: handOverName(settings.Hostname),
			SpoolDir:         settings.Limits.SpoolDir,
			Stdout:           options.Stdout,
			KeepIdle:         keepIdle(options.Resident),
		})
	}
	if err != nil {
		return fmt.Errorf("reinject: %w", err)
	}
	return nil
}

// useSecrets prepares everything that uses the secrets of [srs].
func (f *Filter) useSecrets() {
	settings := f.config.SRS
	secrets, unread := settings.Secrets()
	f.sealKeys = sync.OnceValues(func() (arrival.Keys, error) {
		if unread != nil {
			return nil, unread
		}
		return arrival.DeriveKeys(secrets)
	})
	if settings.Domain == "" {
		return
	}
	var rewriter *srs.Rewriter
	err := unread
	if err == nil {
		rewriter, err = settings.RewriterWith(secrets, f.now)
	}
	f.policy.UseSRS(domain.Canonical(settings.Domain), rewriter, err)
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

// Confine gives up for good all permissions that this filter does not need. It is for a process that does
// nothing else.
func (f *Filter) Confine() error {
	needs, ok := confine.NeedsOf(f.config, os.TempDir())
	if !ok {
		return nil
	}
	if needs.StoreDir != "" {
		_ = store.Prepare(needs.StoreDir) // it cannot be made later; whoever needs it tells why it is missing
	}
	return confine.Apply(needs)
}
